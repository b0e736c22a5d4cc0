"""The graph of a guard, proven: run on canary pictures, and refused where it differs from the network that it is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.bundle import Canary, InputSpec
from training.bundling.canaries import canary_pictures, pixels_of
from training.bundling.graph import Guard, check_parity
from training.model.half import convolve_in_half
from training.scoring.session import Session

Precision = Literal["float32", "float16"]


@dataclass(frozen=True)
class Proven:
    """A model as it will be served, and the pictures that tell whether it still is what it was."""

    model: bytes
    canaries: list[Canary]


def prove(guard: Guard, spec: InputSpec, precision: Precision) -> Proven:
    """Export a guard for pictures as `spec` has them, its convolutions in `precision`.

    Raises ExportError when ONNX Runtime does not compute what the guard's network computes.
    """
    model = guard.to_onnx(spec.height)
    if precision == "float16":
        model = convolve_in_half(model)
    session = Session(model)
    encoded = canary_pictures(session.run, spec)
    pixels = np.stack([pixels_of(data, spec) for data in encoded.values()])
    rows = session.run(pixels)
    check_parity(guard, pixels, rows)
    return Proven(model, _canaries(encoded, rows))


def _canaries(encoded: dict[str, bytes], rows: dict[str, NDArray[Any]]) -> list[Canary]:
    return [
        Canary(
            name=name,
            encoded=data,
            class_index=int(rows["class_index"][i]),
            score=float(rows["score"][i]),
            others_scores=tuple(float(value) for value in rows["others_scores"][i]),
        )
        for i, (name, data) in enumerate(encoded.items())
    ]
