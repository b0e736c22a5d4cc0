"""ODIN (Liang et al., 2018): softmax at a high temperature after a step of the input towards more confidence.

The step needs gradients, so it is taken where torch is (`training.gradients.perturbation`) and comes here as
`perturbed_logits`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from training.detectors.outputs import Outputs, Statistics
from training.errors import DataError

TEMPERATURE = 1000.0


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """The largest softmax probability of the perturbed logits at temperature 1000, (N,).

    Raises DataError where the perturbed logits are missing.
    """
    if outputs.perturbed_logits is None:
        raise DataError("ODIN needs a second pass with gradients; install torch (extra `training`) or leave odin out.")
    probabilities: NDArray[np.float64] = softmax(outputs.perturbed_logits.astype(np.float64) / TEMPERATURE, axis=1)
    largest: NDArray[np.float64] = probabilities.max(axis=1)
    return largest
