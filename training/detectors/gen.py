"""GEN, generalised entropy (Liu et al., 2023)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from training.detectors.outputs import Outputs, Statistics

GAMMA = 0.1
TOP_M = 100
"""How many of the largest probabilities count; all where there are fewer classes."""


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """-sum over the M largest flat probabilities of p^gamma (1 - p)^gamma, (N,)."""
    probabilities: NDArray[np.float64] = softmax(outputs.flat_logits.astype(np.float64), axis=1)
    if probabilities.shape[1] > TOP_M:
        probabilities = -np.partition(-probabilities, TOP_M - 1, axis=1)[:, :TOP_M]
    entropy: NDArray[np.float64] = ((probabilities * (1 - probabilities)) ** GAMMA).sum(axis=1)
    return -entropy
