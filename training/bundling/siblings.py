"""Unseen siblings: how many pictures of classes like the user's own, but never seen, would be let in.

The weak side of every statistic, and one that can be measured beforehand: classes are left out in turn, heads and
statistic are fitted without them on cached features, and their pictures are judged at the threshold that the others
give. Of three guards of thirty classes it foretold 78, 66 and 75 % where 80, 71 and 82 % were then measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from service.verdict import accepts
from training.bundling.guarantee import minimum_count, threshold_rank
from training.bundling.operating_points import TPRS
from training.decision.statistic import Material, fit_statistic, held_out_of, scores
from training.fitting.heads import fit_heads
from training.fitting.recipes import Recipe
from training.grouping.groups import Grouping
from training.progress import say

FOLDS = 4
LEAST_CLASSES = 4
DRAWS = 1_000  # of classes, for the intervals


@dataclass(frozen=True)
class Pictures:
    """The cached features of a run's own pictures, and what part of its split each is of."""

    views: NDArray[np.floating]  # (V, N, D)
    labels: NDArray[np.int64]  # (N,)
    fitted: NDArray[np.int64]  # rows
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]
    foreign: Sequence[tuple[NDArray[np.floating], int]] = ()  # as `feature_batches` has them


@dataclass(frozen=True)
class Share:
    """What a TPR lets in of classes that were never seen; the interval is over draws of classes."""

    tpr: float
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Siblings:
    """Figures over all folds, as fractions."""

    auroc: float
    folds: int
    classes: int
    pictures: int
    let_in: tuple[Share, ...]

    def sentence(self) -> str:
        """What a person should know before trusting the guard."""
        shares = ", ".join(f"{share.share:.0%} at TPR {share.tpr:.0%}" for share in self.let_in)
        return (
            f"unseen siblings: pictures of classes like yours that were never fitted would be let in: {shares} "
            f"(AUROC {self.auroc:.3f}, {self.folds} folds of classes)"
        )

    def as_json(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        return asdict(self) | {"let_in": [asdict(share) | {"interval": list(share.interval)} for share in self.let_in]}


@dataclass(frozen=True)
class _Fold:
    """Scores of one fold: of held-out pictures of the classes it knows, and of all pictures of those it does not."""

    known: NDArray[np.float64]
    unseen: NDArray[np.float64]
    unseen_labels: NDArray[np.int64]

    def auroc(self) -> float:
        """The probability that a known picture scores higher than an unseen one."""
        known = np.arange(len(self.known) + len(self.unseen)) < len(self.known)
        return float(roc_auc_score(known, np.concatenate([self.known, self.unseen])))


def siblings(
    pictures: Pictures, grouping: Grouping, recipe: Recipe, statistic: str, *, confidence: float = 0.95
) -> Siblings | None:
    """Leave classes out in turn; None where there are too few classes for it, or too few calibration pictures."""
    n = len(pictures.calibration)
    if grouping.class_count < LEAST_CLASSES or n < minimum_count(min(TPRS), confidence):
        return None
    order = np.random.default_rng(recipe.seed).permutation(grouping.class_count)
    left_out = np.array_split(order, FOLDS)
    held_out = pictures.labels[pictures.calibration]
    if any(np.isin(held_out, classes).all() for classes in left_out):
        return None  # a fold would have no threshold
    folds = []
    for number, classes in enumerate(left_out, 1):
        say(f"unseen siblings: fold {number} of {FOLDS}, {len(classes)} classes left out")
        folds.append(_fold(pictures, grouping, recipe, statistic, classes))
    shares = [
        _share(folds, tpr, threshold_rank(n, tpr, confidence) / n, confidence, recipe.seed)
        for tpr in TPRS
        if n >= minimum_count(tpr, confidence)
    ]
    auroc = float(np.mean([fold.auroc() for fold in folds]))
    return Siblings(auroc, FOLDS, grouping.class_count, sum(len(fold.unseen) for fold in folds), tuple(shares))


def _fold(pictures: Pictures, grouping: Grouping, recipe: Recipe, statistic: str, left_out: NDArray[np.int64]) -> _Fold:
    unseen = np.isin(pictures.labels, left_out)
    place = np.full(grouping.class_count, -1)
    kept = np.setdiff1d(np.arange(grouping.class_count), left_out)
    place[kept] = np.arange(len(kept))
    fitted, validation, calibration = (
        rows[~unseen[rows]] for rows in (pictures.fitted, pictures.validation, pictures.calibration)
    )
    served = pictures.views[0]
    labels = place[pictures.labels]
    heads = fit_heads(pictures.views, fitted, labels[fitted], _without(grouping, place), recipe, pictures.foreign)
    of_fitted = _f32(served, fitted)
    held_out = held_out_of(_f32(served, validation), _f32(served, calibration), of_fitted)
    material = Material(of_fitted, labels[fitted], held_out)
    decides = fit_statistic(statistic, heads.group, material, seed=recipe.seed)

    def score(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return scores(heads.group, decides, torch.from_numpy(_f32(served, rows))).double().numpy()

    rows = np.flatnonzero(unseen)
    return _Fold(score(calibration), score(rows), pictures.labels[rows])


def _f32(features: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.array(features[rows], np.float32)


def _without(grouping: Grouping, place: NDArray[np.int64]) -> Grouping:
    """The grouping of the classes that have a place, under their new numbers; groups that lose all of theirs go."""
    groups = [
        (name, tuple(int(place[index]) for index in members if place[index] >= 0))
        for name, members in zip(grouping.names, grouping.members, strict=True)
    ]
    kept = [(name, members) for name, members in groups if members]
    return Grouping(tuple(name for name, _ in kept), tuple(members for _, members in kept))


def _share(folds: Sequence[_Fold], tpr: float, quantile: float, confidence: float, seed: int) -> Share:
    """At the same quantile of each fold's calibration scores at which the bundle's own threshold lies."""
    let_in: dict[int, NDArray[np.bool_]] = {}
    for fold in folds:
        rank = max(1, round(quantile * len(fold.known)))
        threshold = float(np.sort(fold.known)[rank - 1])
        accepted = accepts(fold.unseen, threshold)
        let_in |= {int(label): accepted[fold.unseen_labels == label] for label in np.unique(fold.unseen_labels)}
    of_class = np.array([[taken.sum(), len(taken)] for taken in let_in.values()], np.float64)  # (C, 2)
    drawn = np.random.default_rng(seed).integers(len(of_class), size=(DRAWS, len(of_class)))
    taken, of = of_class[drawn].sum(axis=1).T
    tail = (1 - confidence) / 2
    low, high = np.quantile(taken / of, [tail, 1 - tail])
    return Share(tpr, float(of_class[:, 0].sum() / of_class[:, 1].sum()), (float(low), float(high)))
