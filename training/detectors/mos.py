"""Minimum Others Score (paper Eq. 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.detectors.outputs import Outputs, Statistics


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """-min over groups of p(others), (N,)."""
    lowest: NDArray[np.float64] = outputs.others_scores.min(axis=1).astype(np.float64)
    return -lowest
