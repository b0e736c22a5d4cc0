"""Test time, measured in one run: the forward pass and each detector's score apart, in milliseconds a picture.

All are timed on the same batch, one after the other and then again, so that a change of the machine's load meets
them all; the median of the rounds is kept, and a first round is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.bundle import Bundle
from training.data.pixels import Pixels
from training.detectors import DETECTORS
from training.evaluation.collection import MODEL_OUTPUTS
from training.evaluation.detector_set import DetectorSet
from training.scoring.session import Session

ROUNDS = 7


@dataclass(frozen=True)
class Times:
    """Milliseconds a picture, medians over `ROUNDS` rounds of one batch."""

    batch_size: int
    forward_ms: float  # the ONNX model, group head, MOS and what decides included
    flat_head_ms: float  # the flat head on the model's features, which the flat-softmax baselines read
    own_pass_ms: dict[str, float]  # {detector: its pass with gradients}: odin, and Mahalanobis as the paper has it
    score_ms: dict[str, float]  # each detector on outputs that are there already

    def total_ms(self, detector: str) -> float:
        """Everything that one verdict of `detector` takes; the flat head stands in for the group head, at no cost."""
        return self.forward_ms + self.own_pass_ms.get(detector, 0.0) + self.score_ms[detector]


def measure(calls: Mapping[str, Callable[[], object]], batch_size: int) -> dict[str, float]:
    """{name: milliseconds a picture} of calls that each treat one batch."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(values[1:])) / batch_size for name, values in seconds.items()}


def time_detectors(bundle: Bundle, detectors: DetectorSet, pixels: Pixels) -> Times:
    """Everything that a verdict takes, measured on one batch of pictures."""
    session = Session(bundle.model_path.read_bytes())
    values = session.run(pixels, MODEL_OUTPUTS)
    values["flat_logits"] = detectors.head.logits(values["features"])
    calls: dict[str, Callable[[], object]] = {
        "forward": partial(session.run, pixels, MODEL_OUTPUTS),
        "flat head": partial(detectors.head.logits, values["features"]),
    }
    for name, run in detectors.passes.items():
        values[name] = run(pixels)
        calls[f"pass {name}"] = partial(run, pixels)
    outputs = detectors.outputs(values)
    for name in detectors.names:
        if name not in detectors.passes:
            calls[f"score {name}"] = partial(DETECTORS[name].score, outputs, detectors.statistics.get(name, {}))
    ms = measure(calls, len(pixels))
    own = {"odin": "perturbed_logits", "mahalanobis": "mahalanobis"}
    return Times(
        len(pixels),
        ms["forward"],
        ms["flat head"],
        {name: ms[f"pass {key}"] for name, key in own.items() if key in detectors.passes},
        # What decides is computed in the forward pass.
        {bundle.manifest.decided_by: 0.0} | {name: ms.get(f"score {name}", 0.0) for name in detectors.names},
    )
