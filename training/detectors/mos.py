"""Minimum Others Score (paper Eq. 3)."""

import numpy as np
from numpy.typing import NDArray


def score(others_scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """-min over groups of p(others): (N, K) -> (N,)."""
    lowest: NDArray[np.float64] = others_scores.min(axis=1).astype(np.float64)
    return -lowest
