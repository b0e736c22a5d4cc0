"""The paper's studies as lists of trials: which classes, pictures and groups each of them fits heads on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import SettingError
from training.grouping.groups import Grouping
from training.grouping.strategies import at_random, by_clustering
from training.studies.trials import Material, Trial

GroupingOf = Callable[[NDArray[np.int64]], Grouping]
"""Class indices (c,) of the data -> the grouping of those classes."""


@dataclass(frozen=True)
class Study:
    """What a study varies: `x` is along its pictures' axis, `series` tells its lines apart."""

    x: str
    series: str | None
    title: str


STUDIES = {
    "classes": Study("classes", None, "Number of classes, pictures a class fixed (paper Figs. 2 and 5)"),
    "classes-fixed-total": Study("classes", None, "Number of classes, all pictures together fixed (paper Fig. 9)"),
    "grouping": Study("grouping", None, "Grouping strategy at the same number of groups (paper Fig. 6)"),
    "groups": Study("groups", "grouping", "Number of groups (paper Table 2)"),
    "backbones": Study("backbone", None, "Backbone (paper Fig. 7)"),
    "blocks": Study("blocks", None, "Opened blocks (paper Fig. 8)"),
}
SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
GROUP_COUNTS = (2, 3, 5, 8, 20, 50)


def number_of_classes(
    material: Material, counts: Sequence[int], grouping_of: GroupingOf, seed: int, *, fixed_total: bool
) -> Iterable[Trial]:
    """Classes drawn by chance; of each as many pictures as the smallest class has, or a share of a fixed total.

    The total is what the smallest number of classes has at most, so that every trial can have it.
    """
    generator = np.random.default_rng(seed)
    labels, total_classes = material.train.labels, len(material.train.classes)
    counts = counts or sorted({max(2, round(share * total_classes)) for share in SHARES})
    if max(counts) > total_classes or min(counts) < 2:
        raise SettingError(f"--values must be from 2 to the data's {total_classes} classes; change them.")
    per_class = int(np.bincount(labels, minlength=total_classes).min())
    order = generator.permutation(total_classes)
    for count in counts:
        # Nested, so that trials differ in what was added and not in a new draw.
        classes = np.sort(order[:count])
        each = max(1, per_class * min(counts) // count) if fixed_total else per_class
        rows = [generator.permutation(np.flatnonzero(labels == label))[:each] for label in classes]
        varied: dict[str, str | int] = {"classes": count, "pictures": each * count, "seed": seed}
        yield Trial(varied, classes, np.sort(np.concatenate(rows)), grouping_of(classes))


def grouping_strategies(material: Material, taxonomy: Grouping, seed: int) -> Iterable[Trial]:
    """Taxonomy, clusters and chance with as many groups as the taxonomy has."""
    count = len(taxonomy.names)
    yield _whole(material, {"grouping": "taxonomy", "groups": count, "seed": seed}, taxonomy)
    yield from _strategies(material, count, seed)


def number_of_groups(
    material: Material, counts: Sequence[int], taxonomies: Iterable[Grouping], seed: int
) -> Iterable[Trial]:
    """Clusters and chance at each number of groups, and each taxonomy at its own."""
    for taxonomy in taxonomies:
        yield _whole(material, {"grouping": "taxonomy", "groups": len(taxonomy.names), "seed": seed}, taxonomy)
    for count in counts or [count for count in GROUP_COUNTS if count <= len(material.train.classes)]:
        yield from _strategies(material, count, seed)


def backbone_trial(material: Material, taxonomy: Grouping, seed: int) -> Trial:
    """All classes on one backbone's features."""
    return _whole(material, {"backbone": material.backbone, "seed": seed}, taxonomy)


def class_means(material: Material) -> NDArray[np.float32]:
    """The mean feature of each class as it is served, (C, D)."""
    labels = material.train.labels
    return np.stack([material.train_views[0][labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def _strategies(material: Material, count: int, seed: int) -> Iterable[Trial]:
    clusters = by_clustering(class_means(material), count, seed=seed)
    yield _whole(material, {"grouping": "clusters", "groups": count, "seed": seed}, clusters)
    chance = at_random(len(material.train.classes), count, seed=seed)
    yield _whole(material, {"grouping": "random", "groups": count, "seed": seed}, chance)


def _whole(material: Material, varied: dict[str, str | int], grouping: Grouping) -> Trial:
    return Trial(varied, np.arange(len(material.train.classes)), np.arange(len(material.train)), grouping)
