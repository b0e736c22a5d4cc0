"""Maximum Softmax Probability (Hendrycks & Gimpel, 2017)."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax


def score(flat_logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """The largest softmax probability: (N, C) -> (N,)."""
    probabilities: NDArray[np.float64] = softmax(flat_logits.astype(np.float64), axis=1)
    largest: NDArray[np.float64] = probabilities.max(axis=1)
    return largest
