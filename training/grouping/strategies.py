"""`--grouping` as people write it: taxonomy:NAME[:LEVEL], taxonomy:FILE, folders, clusters:K, random:K (paper §3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import GroupingError
from training.grouping.groups import Grouping, from_tree
from training.grouping.taxonomy import Tree, built_in_tree, tree_file

DEFAULT_CLUSTERS = 3  # the paper's supplement: clusters are best at K = 2 or 3


def grouping_of(
    strategy: str | None,
    classes: Sequence[str],
    superclasses: Mapping[str, Sequence[str]] | None,
    class_means: Callable[[], NDArray[np.float32]],
    *,
    seed: int,
    equal_sizes: bool = True,
) -> Grouping:
    """The grouping of `classes` by a strategy; without one, super-class folders, else clusters of `class_means` (C, D).

    `superclasses` is {super-class: [class, ...]} where the data has such folders; `equal_sizes` is of `at_random`.
    Raises GroupingError for a strategy that does not exist or does not fit the data.
    """
    default = "folders" if superclasses else f"clusters:{min(DEFAULT_CLUSTERS, len(classes))}"
    kind, _, value = (strategy or default).partition(":")
    if kind == "taxonomy" and value:
        return from_tree(_tree(value), classes, source=f"The taxonomy {value}")
    if kind == "folders":
        if superclasses is None:
            raise GroupingError("The data has no super-class folders; use --grouping taxonomy:FILE or clusters:K.")
        return from_tree(superclasses, classes, source="The tree of folders")
    if kind == "clusters" and value.isdecimal():
        return by_clustering(class_means(), int(value), seed=seed)
    if kind == "random" and value.isdecimal():
        return at_random(len(classes), int(value), seed=seed, equal_sizes=equal_sizes)
    raise GroupingError(
        f"Grouping {strategy!r} is unknown; use taxonomy:NAME, taxonomy:FILE, folders, clusters:K or random:K."
    )


def by_clustering(class_means: NDArray[np.float32], group_count: int, *, seed: int) -> Grouping:
    """K-means over the mean feature of each class, (C, D) (paper §3.3, "feature clustering")."""
    from sklearn.cluster import KMeans

    _check_count(group_count, len(class_means))
    assigned = KMeans(group_count, n_init=10, random_state=seed).fit(class_means).labels_
    return _numbered("cluster", [np.flatnonzero(assigned == group) for group in range(group_count)])


def at_random(class_count: int, group_count: int, *, seed: int, equal_sizes: bool = True) -> Grouping:
    """Groups drawn by chance, the lower bound of the paper's comparison.

    Of equal size within one (paper §4.3.3). Without `equal_sizes` each class draws its group alone (§3.3): sizes then
    differ, and groups that no class drew are left out, so that there may be fewer.
    """
    _check_count(group_count, class_count)
    generator = np.random.default_rng(seed)
    if not equal_sizes:
        drawn = generator.integers(group_count, size=class_count)
        return _numbered("random", [np.flatnonzero(drawn == group) for group in range(group_count)])
    order = generator.permutation(class_count)
    return _numbered("random", [np.sort(part) for part in np.array_split(order, group_count)])


def _tree(taxonomy: str) -> Tree:
    """A file, or a built-in tree as NAME or NAME:LEVEL."""
    if taxonomy.lower().endswith((".json", ".csv")):
        return tree_file(Path(taxonomy))
    name, _, level = taxonomy.partition(":")
    try:
        return built_in_tree(name, int(level or 0))
    except ValueError as error:
        raise GroupingError(f"The level of taxonomy {taxonomy!r} is no number; write NAME:LEVEL.") from error


def _check_count(group_count: int, class_count: int) -> None:
    if not 1 <= group_count <= class_count:
        raise GroupingError(f"{class_count} classes cannot make {group_count} groups; ask for 1 to {class_count}.")


def _numbered(prefix: str, members: Sequence[NDArray[np.int64]]) -> Grouping:
    # By first class, so that the same partition always has the same names.
    ordered = sorted((tuple(int(i) for i in group) for group in members if len(group)), key=lambda group: group[0])
    return Grouping(tuple(f"{prefix} {index + 1}" for index in range(len(ordered))), tuple(ordered))
