"""Mahalanobis distance to the nearest class mean, on the features that the heads read (Lee et al., 2018).

Every class has a mean and all share one covariance. Nothing is tuned; the method as the paper cites it, with five
layers and a regression on attacked pictures, is in `training.gradients.layered_mahalanobis`.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from training.detectors.class_means import class_means
from training.detectors.outputs import FitData, Outputs, Statistics

ROUNDING = 1e-10
"""Variances below this share of the largest are rounding: float32 features are off by about one part in a million."""


def fit(data: FitData) -> Statistics:
    """`means` (classes, D), and `whitening` and `scale`: a triangular R with R.T @ R = the (pseudo-)inverse covariance.

    Row i of R is `scale[i]` times row i of `whitening`, which holds the upper triangle in half precision.
    """
    features = data.train.features.astype(np.float64)
    means, places = class_means(features, data.train_labels)
    centred = features - means[places]
    factor = inverse_factor(centred.T @ centred / len(centred))
    scale = np.maximum(np.abs(factor).max(axis=1), np.finfo(np.float32).tiny)
    upper = np.triu_indices(len(factor))
    return {
        "means": means.astype(np.float16),
        "whitening": (factor / scale[:, None])[upper].astype(np.float16),
        "scale": scale.astype(np.float32),
    }


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """-min over classes of the squared distance |R x - R m|^2, expanded into matrix products, (N,)."""
    means = statistics["means"].astype(np.float64)
    middle = means.mean(axis=0)  # subtracted from both, so that the expansion cancels little
    factor = np.zeros((means.shape[1], means.shape[1]))
    factor[np.triu_indices(len(factor))] = statistics["whitening"]
    factor *= statistics["scale"][:, None]
    x = (outputs.features - middle) @ factor.T
    m = (means - middle) @ factor.T
    nearest: NDArray[np.float64] = (2 * x @ m.T - (m**2).sum(axis=1)).max(axis=1) - (x**2).sum(axis=1)
    return nearest


def inverse_factor(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper triangular R with R.T @ R = the pseudo-inverse; directions without variance count nothing."""
    values, vectors = eigh(covariance)
    kept = values > values.max() * ROUNDING
    inverse_deviation = np.where(kept, values, np.inf) ** -0.5
    return cast("NDArray[np.float64]", np.linalg.qr(inverse_deviation[:, None] * vectors.T, mode="r"))
