"""Grouping: which classes share a softmax (paper §3.3), and how labels are encoded for it.

A grouping is data: names, and the class indices of each group. It comes from a taxonomy (`taxonomy.py`, or super-class
folders), from clustering class-mean features, or from chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import GroupingError
from training.grouping.taxonomy import homes

SMALL_GROUP = 5
OTHERS_SHARE = 0.99
NAMED_GROUPS = 8


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


def from_tree(tree: Mapping[str, Sequence[str]], classes: Sequence[str], *, source: str = "The taxonomy") -> Grouping:
    """Group `classes` by a label tree {group: [class name, ...]}; groups without any of the classes are left out.

    Raises GroupingError for a tree of other classes, and for a class that the tree does not hold, or holds twice;
    `source` begins its sentence.
    """
    home = homes(tree, source)
    lost = [name for name in classes if name not in home]
    if lost and len(lost) == len(classes):
        raise GroupingError(
            f"{source} is of other classes, such as {next(iter(home), '')!r}, and holds none of the data's "
            f"{len(classes)}, such as {lost[0]!r}; name one made for these."
        )
    if lost:
        raise GroupingError(
            f"{source} has no group for class {lost[0]!r} ({len(lost)} of {len(classes)} classes lack one); "
            "add it to one."
        )
    groups = [group for group in tree if any(home[name] == group for name in classes)]
    return Grouping(
        names=tuple(groups),
        members=tuple(tuple(i for i, name in enumerate(classes) if home[name] == group) for group in groups),
    )


def warnings(grouping: Grouping) -> list[str]:
    """What about a grouping may cost detection, as sentences that name the groups.

    The score is the smallest *others* of any group, so that one badly fitted group can decide every picture.
    """
    sizes = {name: len(members) for name, members in zip(grouping.names, grouping.members, strict=True)}
    small = [name for name, size in sizes.items() if size < SMALL_GROUP]
    rare = [name for name, size in sizes.items() if 1 - size / grouping.class_count > OTHERS_SHARE]
    sentences = []
    if small:
        sentences.append(f"Fewer than {SMALL_GROUP} classes in {_listed(small)}; merge them with others.")
    if rare:
        sentences.append(
            f"*Others* is the answer for more than {OTHERS_SHARE:.0%} of balanced pictures in {_listed(rare)}; "
            "such a group learns little but that."
        )
    return sentences


def _listed(groups: Sequence[str]) -> str:
    named = ", ".join(groups[:NAMED_GROUPS])
    return named if len(groups) <= NAMED_GROUPS else f"{named} and {len(groups) - NAMED_GROUPS} more groups"
