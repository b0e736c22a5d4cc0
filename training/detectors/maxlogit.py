"""Maximum logit (Hendrycks et al., 2022)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.detectors.outputs import Outputs, Statistics


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """The largest flat logit, (N,)."""
    largest: NDArray[np.float64] = outputs.flat_logits.max(axis=1).astype(np.float64)
    return largest
