"""ViM, virtual-logit matching (Wang et al., 2022): energy, less what a feature has outside the principal space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import logsumexp

from training.detectors.outputs import FitData, Outputs, Statistics


def fit(data: FitData) -> Statistics:
    """`origin` (D,) and `null_space` (D, D - principal), as in `residual`, and `alpha` (1,).

    alpha = mean largest logit / mean residual over the training pictures.
    """
    space = fit_residual(data.train)
    mean_logit = data.train.flat_logits.max(axis=1).mean(dtype=np.float64)
    alpha = mean_logit / residual(data.train.features, space).mean()
    return {**space, "alpha": np.float32(alpha).reshape(1)}


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """Log sum exp of the flat logits - alpha * residual, (N,)."""
    energy: NDArray[np.float64] = logsumexp(outputs.flat_logits.astype(np.float64), axis=1)
    return energy - statistics["alpha"] * residual(outputs.features, statistics)


def fit_residual(train: Outputs) -> dict[str, NDArray[Any]]:
    """`origin`, where the flat logits vanish, and `null_space`, the minor directions of features seen from there."""
    weight, bias = train.head.weight.astype(np.float64), train.head.bias.astype(np.float64)
    origin = (-np.linalg.pinv(weight) @ bias).astype(np.float32)
    centred = train.features - origin.astype(np.float64)
    values, vectors = eigh(centred.T @ centred / len(centred))  # values ascend
    minor = len(values) - principal_dimension(len(values))
    return {"origin": origin, "null_space": vectors[:, :minor].astype(np.float16)}


def residual(features: NDArray[np.floating], space: Statistics) -> NDArray[np.float64]:
    """|(x - origin) @ null_space|, (N,)."""
    outside = (features - space["origin"].astype(np.float64)) @ space["null_space"].astype(np.float64)
    norms: NDArray[np.float64] = np.linalg.norm(outside, axis=1)
    return norms


def principal_dimension(feature_size: int) -> int:
    """The authors' rule: 1,000 of at least 2,048 features, 512 of at least 768, else half."""
    if feature_size >= 2048:
        return 1000
    return 512 if feature_size >= 768 else feature_size // 2
