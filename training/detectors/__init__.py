"""Detectors: model outputs -> one score a picture, higher = in-distribution. One file a detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.detectors import energy, mos, msp


@dataclass(frozen=True)
class Outputs:
    """What detectors read, for N pictures of C classes in K groups."""

    others_scores: NDArray[np.float32]  # (N, K)
    flat_logits: NDArray[np.float32]  # (N, C) of the flat head on the same features


DETECTORS: dict[str, Callable[[Outputs], NDArray[np.float64]]] = {
    "mos": lambda outputs: mos.score(outputs.others_scores),
    "msp": lambda outputs: msp.score(outputs.flat_logits),
    "energy": lambda outputs: energy.score(outputs.flat_logits),
}
