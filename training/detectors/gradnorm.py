"""GradNorm (Huang et al., 2021) in closed form.

The L1 norm of the gradient, at the flat head's weight, of the cross-entropy against the uniform distribution. The
gradient is an outer product, (C p - 1) with the features, so its norm is the product of theirs and nothing is
backpropagated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from training.detectors.outputs import Outputs, Statistics


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """(sum over classes of |C p - 1|) * (sum of |feature|) at temperature 1, (N,)."""
    probabilities: NDArray[np.float64] = softmax(outputs.flat_logits.astype(np.float64), axis=1)
    from_uniform = np.abs(probabilities.shape[1] * probabilities - 1).sum(axis=1)
    norm: NDArray[np.float64] = from_uniform * np.abs(outputs.features).sum(axis=1, dtype=np.float64)
    return norm
