"""Negative free energy at temperature 1 (Liu et al., 2020)."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp


def score(flat_logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """log sum exp of the logits: (N, C) -> (N,)."""
    energy: NDArray[np.float64] = logsumexp(flat_logits.astype(np.float64), axis=1)
    return energy
