"""Maximum Softmax Probability (Hendrycks & Gimpel, 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from training.detectors.outputs import Outputs, Statistics


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """The largest softmax probability of the flat logits, (N,)."""
    probabilities: NDArray[np.float64] = softmax(outputs.flat_logits.astype(np.float64), axis=1)
    largest: NDArray[np.float64] = probabilities.max(axis=1)
    return largest
