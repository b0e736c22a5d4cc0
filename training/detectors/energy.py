"""Negative free energy at temperature 1 (Liu et al., 2020)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from training.detectors.outputs import Outputs, Statistics


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """log sum exp of the flat logits, (N,)."""
    energy: NDArray[np.float64] = logsumexp(outputs.flat_logits.astype(np.float64), axis=1)
    return energy
