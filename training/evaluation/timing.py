"""Test time, measured in one run: the forward pass and each detector's score apart, in milliseconds a picture.

All are timed on the same batch, one after the other and then again, so that a change of the machine's load meets
them all; the median of the rounds is kept, and a first round is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ROUNDS = 7


@dataclass(frozen=True)
class Times:
    """Milliseconds a picture, medians over `ROUNDS` rounds of one batch."""

    batch_size: int
    forward_ms: float  # the ONNX model, group head and MOS included
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
