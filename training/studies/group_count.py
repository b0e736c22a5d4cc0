"""How many groups to make by clustering where there is no taxonomy.

Some classes are held out and stand for OOD pictures. For each number of groups K the means of the other classes are
clustered, a group head is fitted on part of their pictures, and the rest of them must score above those of the classes
held out. That is a proxy: the classes held out are near the others, and the backbone may have been trained on them, so
it compares numbers of groups and says nothing of how well OOD pictures will be told apart.

Legend: N pictures, D features, C classes, K groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.bundle import Bundle
from training.data.sets import DataSet
from training.errors import GroupingError
from training.grouping.groups import Grouping
from training.grouping.strategies import by_clustering
from training.model.group_softmax import GroupHead, minimum_others_score
from training.progress import track
from training.scoring.pictures import score_pictures

CANDIDATES = (2, 3, 5, 8, 12, 20)
SPLITS = 3
HELD_OUT_CLASSES = 0.2  # share of the classes that stand for OOD
HELD_OUT_PICTURES = 0.2  # share of each other class's pictures that is scored, not fitted
STEPS = 300
BATCH_SIZE = 256
LEARNING_RATE = 0.003
PICTURES_PER_CLASS = 50

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """What one number of groups came to: mean and standard deviation of the AUROC over the splits."""

    group_count: int
    auroc: float
    spread: float


@dataclass(frozen=True)
class Recommendation:
    """The rows, by number of groups, and the number to take: the smallest within a standard error of the best."""

    rows: tuple[Row, ...]
    group_count: int


@dataclass(frozen=True)
class Split:
    """Pictures to fit and to score. Labels count the classes that are kept, from 0."""

    fitted: Features
    labels: Labels
    id_features: Features
    ood_features: Features


def recommend(
    features: Features, labels: Labels, *, candidates: Sequence[int] = CANDIDATES, seed: int
) -> Recommendation:
    """Compare numbers of groups on features (N, D) of labelled pictures (N,).

    Candidates that the classes cannot fill are left out. Raises GroupingError for too few classes or pictures.
    """
    pictures = np.bincount(labels)
    kept_count = len(pictures) - _held_out_count(len(pictures))
    possible = [count for count in sorted(set(candidates)) if 2 <= count <= kept_count]
    if not possible:
        raise GroupingError(
            f"{len(pictures)} classes are too few to compare numbers of groups; name a taxonomy or a number."
        )
    if pictures.min() < 2:
        raise GroupingError("Comparing numbers of groups needs two pictures of each class; add some, or name a number.")
    # One scale for all features keeps their geometry, which the clusters rest on.
    scaled = ((features - features.mean(axis=0)) / features.std()).astype(np.float32)
    splits = [_split(scaled, labels, np.random.default_rng((seed, number))) for number in range(SPLITS)]
    pairs = [(count, split) for count in possible for split in splits]
    areas = [_area(split, count, seed) for count, split in track(pairs, len(pairs), "comparing numbers of groups")]
    by_count = np.array(areas).reshape(len(possible), SPLITS)
    rows = tuple(
        Row(count, float(column.mean()), float(column.std(ddof=1)))
        for count, column in zip(possible, by_count, strict=True)
    )
    return Recommendation(rows, choose(rows))


def choose(rows: Sequence[Row]) -> int:
    """The smallest number of groups within one standard error of the best."""
    best = max(rows, key=lambda row: row.auroc)
    enough = best.auroc - best.spread / np.sqrt(SPLITS)
    return min(row.group_count for row in rows if row.auroc >= enough)


def recommend_for(bundle: Bundle, data: DataSet, *, seed: int) -> tuple[Recommendation, Grouping]:
    """Compare on features of the bundle's backbone, and make the clusters that are recommended.

    Takes at most PICTURES_PER_CLASS pictures of a class.
    """
    chosen = data.select(_sample(data.labels, PICTURES_PER_CLASS, np.random.default_rng(seed)))
    features = score_pictures(bundle, chosen, ["features"])["features"]
    recommendation = recommend(features, chosen.labels, seed=seed)
    means = class_means(features, chosen.labels, len(data.classes))
    return recommendation, by_clustering(means, recommendation.group_count, seed=seed)


def class_means(features: Features, labels: Labels, class_count: int) -> Features:
    """Mean feature of each class (C, D)."""
    return np.stack([features[labels == label].mean(axis=0) for label in range(class_count)])


def _held_out_count(class_count: int) -> int:
    return max(1, round(HELD_OUT_CLASSES * class_count))


def _sample(labels: Labels, per_class: int, generator: np.random.Generator) -> Labels:
    members = [generator.permutation(np.flatnonzero(labels == label))[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(members))


def _split(features: Features, labels: Labels, generator: np.random.Generator) -> Split:
    classes = generator.permutation(labels.max() + 1)
    kept = classes[_held_out_count(len(classes)) :]
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in kept]
    tests = [max(1, round(HELD_OUT_PICTURES * len(pictures))) for pictures in members]
    fitted = [pictures[count:] for pictures, count in zip(members, tests, strict=True)]
    id_features = np.concatenate([pictures[:count] for pictures, count in zip(members, tests, strict=True)])
    return Split(
        fitted=features[np.concatenate(fitted)],
        labels=np.repeat(np.arange(len(kept)), [len(pictures) for pictures in fitted]),
        id_features=features[id_features],
        ood_features=features[~np.isin(labels, kept)],
    )


def _area(split: Split, group_count: int, seed: int) -> float:
    """AUROC of the Minimum Others Score, the kept classes against those held out."""
    from sklearn.metrics import roc_auc_score

    means = class_means(split.fitted, split.labels, split.labels.max() + 1)
    head = _fit(split, by_clustering(means, group_count, seed=seed), seed)
    scores = np.concatenate([_scores(head, split.id_features), _scores(head, split.ood_features)])
    truth = np.repeat([1, 0], [len(split.id_features), len(split.ood_features)])
    return float(roc_auc_score(truth, scores))


def _fit(split: Split, grouping: Grouping, seed: int) -> GroupHead:
    """A group head after a few hundred steps; enough to compare groupings by."""
    features, labels = torch.from_numpy(split.fitted), torch.from_numpy(split.labels)
    head = GroupHead(features.shape[1], grouping)
    torch.nn.init.zeros_(head.linear.weight)  # not torch's random start, which another use of its generator would move
    torch.nn.init.zeros_(head.linear.bias)
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE)
    generator = np.random.default_rng(seed)
    for _ in range(STEPS):
        batch = torch.from_numpy(generator.integers(len(labels), size=min(BATCH_SIZE, len(labels))))
        loss = head.losses(head(features[batch]), labels[batch]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return head


def _scores(head: GroupHead, features: Features) -> NDArray[np.float64]:
    with torch.no_grad():
        logits: Tensor = head(torch.from_numpy(features))
        scores = minimum_others_score(head.probabilities(logits.double())[1])
    return scores.numpy()
