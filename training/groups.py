"""Grouping: which classes share a softmax (paper §3.3), and how labels are encoded for it.

A grouping is data: names, and the class indices of each group. It comes from a taxonomy (a label tree that ships, a
file, or super-class folders), from clustering class-mean features, or from chance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import GroupingError


@dataclass(frozen=True)
class Tables:
    """The index tables of a group softmax, for C classes in K groups of at most M - 1 classes."""

    logit_index: NDArray[np.int64]  # (K, M) where each group's logits stand among the C + K
    padding: NDArray[np.bool_]  # (K, M) True where a group has no logit
    targets: NDArray[np.int64]  # (C, K) each class's label in each group; 0 is others
    class_group: NDArray[np.int64]  # (C,)
    class_position: NDArray[np.int64]  # (C,) inside its group; 0 is others, so at least 1


@dataclass(frozen=True)
class Grouping:
    """Names of the K groups and the class indices of each; every class of 0..C-1 in exactly one group."""

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        listed = sorted(index for group in self.members for index in group)
        if listed != list(range(len(listed))) or not listed:
            raise GroupingError(
                "A grouping must hold every class exactly once; check it for missing or repeated classes."
            )
        if not all(self.members):
            empty = self.names[[bool(group) for group in self.members].index(False)]
            raise GroupingError(f"Group {empty!r} has no classes; remove it or give it some.")
        if len(set(self.names)) != len(self.members):
            raise GroupingError("Each group needs a name of its own; rename the groups that share one.")

    @property
    def class_count(self) -> int:
        """C."""
        return sum(len(group) for group in self.members)

    @property
    def logit_count(self) -> int:
        """C + K: one logit a class and one *others* a group."""
        return self.class_count + len(self.members)

    def tables(self) -> Tables:
        """The index tables that a group softmax needs."""
        sizes = np.array([len(group) + 1 for group in self.members])
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        within = np.arange(sizes.max())
        padding = within[None, :] >= sizes[:, None]
        logit_index = np.where(padding, 0, starts[:, None] + within[None, :])
        class_group = np.empty(self.class_count, np.int64)
        class_position = np.empty(self.class_count, np.int64)
        for group, classes in enumerate(self.members):
            class_group[list(classes)] = group
            class_position[list(classes)] = np.arange(1, len(classes) + 1)
        targets = np.zeros((self.class_count, len(self.members)), np.int64)
        targets[np.arange(self.class_count), class_group] = class_position
        return Tables(logit_index.astype(np.int64), padding, targets, class_group, class_position)


def from_tree(tree: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Grouping:
    """Group `classes` by a label tree {group: [class name, ...]}; groups without any of the classes are left out.

    Raises GroupingError for a class that the tree does not hold, or holds twice.
    """
    home: dict[str, str] = {}
    for group, names in tree.items():
        for name in names:
            if home.setdefault(name, group) != group:
                raise GroupingError(f"The taxonomy puts class {name!r} in two groups; keep it in one.")
    lost = [name for name in classes if name not in home]
    if lost:
        raise GroupingError(
            f"The taxonomy has no group for class {lost[0]!r} ({len(lost)} such classes); add it to one."
        )
    groups = [group for group in tree if any(home[name] == group for name in classes)]
    return Grouping(
        names=tuple(groups),
        members=tuple(tuple(i for i, name in enumerate(classes) if home[name] == group) for group in groups),
    )


def built_in_tree(name: str) -> dict[str, list[str]]:
    """A label tree that ships with the package, such as `cifar100`."""
    folder = resources.files("training") / "taxonomies"
    known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    if name not in known:
        raise GroupingError(
            f"There is no built-in taxonomy {name!r}; choose one of {', '.join(known)}, or name a file."
        )
    return _tree(json.loads((folder / f"{name}.json").read_text("utf-8")), name)


def tree_file(path: Path) -> dict[str, list[str]]:
    """A label tree from a JSON file {group: [class name, ...]}."""
    try:
        return _tree(json.loads(path.read_text("utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise GroupingError(
            f"The taxonomy {path} cannot be read; give a JSON object of group: [class names]."
        ) from error


def _tree(value: object, source: str) -> dict[str, list[str]]:
    if not isinstance(value, dict) or not all(isinstance(names, list) for names in value.values()):
        raise GroupingError(f"The taxonomy {source} is not a JSON object of group: [class names]; rewrite it as one.")
    return {str(group): [str(name) for name in names] for group, names in value.items()}


def by_clustering(class_means: NDArray[np.float32], group_count: int, *, seed: int) -> Grouping:
    """K-means over the mean feature of each class, (C, D) (paper §3.3, "feature clustering")."""
    from sklearn.cluster import KMeans

    _check_count(group_count, len(class_means))
    assigned = KMeans(group_count, n_init=10, random_state=seed).fit(class_means).labels_
    return _numbered("cluster", [np.flatnonzero(assigned == group) for group in range(group_count)])


def at_random(class_count: int, group_count: int, *, seed: int) -> Grouping:
    """Groups of equal size (within one) drawn by chance (paper §4.3.3, the lower bound)."""
    _check_count(group_count, class_count)
    order = np.random.default_rng(seed).permutation(class_count)
    return _numbered("random", [np.sort(part) for part in np.array_split(order, group_count)])


def _check_count(group_count: int, class_count: int) -> None:
    if not 1 <= group_count <= class_count:
        raise GroupingError(f"{class_count} classes cannot make {group_count} groups; ask for 1 to {class_count}.")


def _numbered(prefix: str, members: Sequence[NDArray[np.int64]]) -> Grouping:
    # By first class, so that the same partition always has the same names.
    ordered = sorted((tuple(int(i) for i in group) for group in members if len(group)), key=lambda group: group[0])
    return Grouping(tuple(f"{prefix} {index + 1}" for index in range(len(ordered))), tuple(ordered))
