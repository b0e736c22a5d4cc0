"""ReAct (Sun et al., 2021): the energy of features clipped from above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from training.detectors.outputs import FitData, Outputs, Statistics

KEPT = 0.90
"""Share of the training activations that the clip leaves as they are."""


def fit(data: FitData) -> Statistics:
    """`clip`: the quantile of all training activations, over pictures and features together."""
    return {"clip": np.float32(np.quantile(data.train.features, KEPT)).reshape(1)}


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """Log sum exp of the flat head's logits on clipped features, (N,)."""
    clipped = np.minimum(outputs.features, statistics["clip"])
    energy: NDArray[np.float64] = logsumexp(outputs.head.logits(clipped).astype(np.float64), axis=1)
    return energy
