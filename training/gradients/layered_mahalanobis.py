"""The Mahalanobis detector as the MOS paper compares with it (Lee et al., 2018), for `Settings.mahalanobis` of
`paper` or `official`.

Every tap of the backbone (the root and each block, spatial means) has class means and one shared covariance. Its
score is the distance to the nearest class after a step of the input towards that class; a logistic regression weighs
the taps so that in-distribution pictures part from attacked ones. It needs attacked pictures and tuning; the default,
`training.detectors.mahalanobis`, needs neither.

Legend: N pictures, C classes, L taps, F channels of a tap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from torch import Tensor
from torch.nn import functional as F

from training.detectors.class_means import class_means
from training.detectors.mahalanobis import inverse_factor
from training.errors import DataError
from training.gradients.perturbation import step
from training.model.backbone import Backbone
from training.model.network import Network
from training.reproduction import Source

EPSILONS = (0.0, 0.01, 0.005, 0.002, 0.0014, 0.001, 0.0005)
"""The steps that the authors' code tries."""
ATTACK = 0.05
"""How far an attacked picture is moved against its class, in [-1, 1]."""
BATCH_SIZE = 64
TPR = 0.95


@dataclass(frozen=True)
class Tap:
    """One tap's Gaussians, and how near a class is."""

    means: Tensor  # (C, F)
    precision: Tensor  # (F, F)

    def scores(self, features: Tensor) -> Tensor:
        """(N, F) -> (N, C): -1/2 of the squared Mahalanobis distance to each class mean, as matrix products."""
        middle = self.means.mean(dim=0)  # subtracted from both, so that the expansion cancels little
        x, m = features - middle, self.means - middle
        weighed = x @ self.precision  # (N, F)
        return (
            weighed @ m.T - 0.5 * (weighed * x).sum(dim=1, keepdim=True) - 0.5 * ((m @ self.precision) * m).sum(dim=1)
        )


@dataclass(frozen=True)
class Layered:
    """All taps, the input step, and the regression on their scores."""

    taps: tuple[Tap, ...]
    epsilon: float
    regression: Any  # a fitted LogisticRegressionCV on L columns; class 1 is attacked

    def score(self, network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """uint8 (N, H, W, 3) -> -P(attacked), (N,), higher = in-distribution."""
        columns = layer_scores(network.differentiable, self.taps, _images(network, pixels), self.epsilon)
        return _inlier_score(self.regression, columns)


def fit(
    network: Network,
    train: Iterable[NDArray[np.uint8]],
    train_labels: NDArray[np.int64],
    held_out: NDArray[np.uint8],
    held_out_labels: NDArray[np.int64],
    clamp: Source,
) -> Layered:
    """Gaussians from the training pictures, regression and step from the held-out ones; all uint8 (n, H, W, 3).

    Training pictures come in batches, in the order of their labels (N,), so that none need be kept.

    One half of the held-out pictures and their attacks fit a regression for each step; the step with the lowest FPR95
    on the other half is kept. `clamp` says whose
    bounds attacked pictures are kept in. The authors fit on ID test pictures: the caller passes them as `held_out`.
    Raises DataError for fewer than 20 held-out pictures.
    """
    if len(held_out) < 20:
        raise DataError(f"{len(held_out)} held-out pictures are too few for the regression; hold at least 20 out.")
    taps = fit_taps(network.differentiable, (_images(network, pixels) for pixels in train), train_labels)
    clean = _images(network, held_out)
    low = 0.0 if clamp == "official" else -1.0  # the authors clamp as if pictures were in [0, 1]
    attacked = attack(network, clean, torch.from_numpy(held_out_labels), low=low)
    best: tuple[float, Layered] | None = None
    for epsilon in EPSILONS:
        clean_scores = layer_scores(network.differentiable, taps, clean, epsilon)
        attacked_scores = layer_scores(network.differentiable, taps, attacked, epsilon)
        regression = _regress(clean_scores[::2], attacked_scores[::2])
        error = _fpr95(_inlier_score(regression, clean_scores[1::2]), _inlier_score(regression, attacked_scores[1::2]))
        if best is None or error < best[0]:
            best = error, Layered(taps, epsilon, regression)
    assert best is not None, "EPSILONS is empty. This is a bug."
    return best[1]


def fit_taps(backbone: Backbone, images: Iterable[Tensor], labels: NDArray[np.int64]) -> tuple[Tap, ...]:
    """Class means and the inverse of the shared covariance of every tap, in float64, of batches (n, 3, H, W)."""
    device = next(backbone.parameters()).device
    with torch.no_grad():
        batches = [tap_features(backbone, batch) for batch in images]
    taps = []
    for parts in zip(*batches, strict=True):
        features = torch.cat(parts).double().cpu().numpy()
        means, places = class_means(features, labels)
        centred = features - means[places]
        factor = inverse_factor(centred.T @ centred / len(centred))
        tap = Tap(torch.from_numpy(means), torch.from_numpy(factor.T @ factor))
        taps.append(Tap(tap.means.to(device), tap.precision.to(device)))
    return tuple(taps)


def tap_features(backbone: Backbone, images: Tensor) -> list[Tensor]:
    """(N, 3, H, W) -> the spatial mean of the root's and of each block's output, (N, F) each."""
    x = backbone.root(images)
    features = [x.mean(dim=(2, 3))]
    for block in backbone.blocks():
        x = block(x)
        features.append(x.mean(dim=(2, 3)))
    return features


def layer_scores(backbone: Backbone, taps: Sequence[Tap], images: Tensor, epsilon: float) -> NDArray[np.float64]:
    """(N, L): each tap's score of the nearest class after that tap's own step of the input."""
    rows = [_batch_scores(backbone, taps, batch, epsilon) for batch in _batches(images)]
    return cast("NDArray[np.float64]", torch.cat(rows).cpu().numpy())


def _batch_scores(backbone: Backbone, taps: Sequence[Tap], images: Tensor, epsilon: float) -> Tensor:
    images = images.detach().requires_grad_(epsilon > 0)
    with torch.set_grad_enabled(epsilon > 0):
        nearest = [
            tap.scores(x.double()).amax(dim=1) for tap, x in zip(taps, tap_features(backbone, images), strict=True)
        ]
    if not epsilon:
        return torch.stack(nearest, dim=1)
    moved = []
    for index, tap in enumerate(taps):
        (gradient,) = torch.autograd.grad(-nearest[index].sum(), images, retain_graph=True)
        with torch.no_grad():
            features = tap_features(backbone, step(images.detach(), gradient, epsilon))[index]
            moved.append(tap.scores(features.double()).amax(dim=1))
    return torch.stack(moved, dim=1)


def attack(network: Network, images: Tensor, labels: Tensor, *, low: float) -> Tensor:
    """The fast gradient sign method against the true class, clamped to [low, 1]; (N, 3, H, W)."""
    attacked = []
    for batch, truth in zip(_batches(images), _batches(labels.to(images.device)), strict=True):
        start = batch.detach().requires_grad_()
        loss = F.cross_entropy(network.flat(network.differentiable(start)), truth, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, start)
        attacked.append(step(batch, gradient, -ATTACK).clamp(low, 1.0))
    return torch.cat(attacked)


def _images(network: Network, pixels: NDArray[np.uint8]) -> Tensor:
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(network.flat.weight.device)
    return network.differentiable.normalise(images)


def _batches(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, BATCH_SIZE)


def _regress(clean_scores: NDArray[np.float64], attacked_scores: NDArray[np.float64]) -> LogisticRegressionCV:
    """On as many columns as there are taps; class 1 is attacked."""
    columns = np.concatenate([clean_scores, attacked_scores])
    labels = np.concatenate([np.zeros(len(clean_scores)), np.ones(len(attacked_scores))])
    model = LogisticRegressionCV(l1_ratios=(0.0,), scoring="accuracy", use_legacy_attributes=False, max_iter=1000)
    return model.fit(columns, labels)


def _inlier_score(regression: LogisticRegressionCV, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return -cast("NDArray[np.float64]", regression.predict_proba(columns)[:, 1])


def _fpr95(clean_scores: NDArray[np.float64], attacked_scores: NDArray[np.float64]) -> float:
    threshold = np.sort(clean_scores)[int((1 - TPR) * len(clean_scores))]
    return float((attacked_scores >= threshold).mean())
