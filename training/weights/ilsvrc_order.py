"""ImageNet's classes as the authors' checkpoints count them, and the way back to sorted WordNet ids.

The authors' published heads have their rows in the order of the ILSVRC development kit: class 0 is the kit fox,
n02119789. Image folders and most other checkpoints sort by WordNet id, where class 0 is the tench, n01440764. A head
that is read in the wrong order is right about groups and wrong about nearly every class.

`taxonomies/imagenet1k-devkit.txt` has a line a class in the kit's order: WordNet id and group of the paper's level 0.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from training.grouping.groups import Grouping
from training.reproduction import Source

GROUPS = (
    "animal",
    "artifact",
    "geological formation",
    "fungus",
    "misc",
    "natural object",
    "person",
    "plant",
)
"""Level 0 in the order of the authors' group head: 398, 521, 9, 7, 52, 8, 3 and 2 classes."""


@cache
def _kit() -> tuple[tuple[str, str], ...]:
    """WordNet id and group of each class, in the development kit's order."""
    text = (resources.files("training.grouping") / "taxonomies" / "imagenet1k-devkit.txt").read_text("utf-8")
    return tuple((wordnet_id, group) for wordnet_id, group in (line.split(" ", 1) for line in text.splitlines()))


def classes(label_order: Source = "corrected") -> tuple[str, ...]:
    """The 1,000 WordNet ids, in the kit's order for `official`, else sorted (difference D10)."""
    ids = tuple(wordnet_id for wordnet_id, _ in _kit())
    return ids if label_order == "official" else tuple(sorted(ids))


def grouping(label_order: Source = "corrected") -> Grouping:
    """The 8 groups of the authors' group head; its logit layout is that of the head that `group_rows` gives."""
    home = dict(_kit())
    ids = classes(label_order)
    members = (tuple(index for index, name in enumerate(ids) if home[name] == group) for group in GROUPS)
    return Grouping(GROUPS, tuple(members))


def flat_rows(label_order: Source = "corrected") -> list[int]:
    """Which row of the authors' flat head belongs to each class, (1000,)."""
    row = {name: index for index, name in enumerate(classes("official"))}
    return [row[name] for name in classes(label_order)]


def group_rows(label_order: Source = "corrected") -> list[int]:
    """Which row of the authors' group head belongs to each logit, (1008,): *others* first in each group."""
    row_of_class = flat_rows(label_order)
    rows: list[int] = []
    for theirs, ours in zip(grouping("official").members, grouping(label_order).members, strict=True):
        start = len(rows)
        place = {index: start + 1 + rank for rank, index in enumerate(theirs)}
        rows += [start, *(place[row_of_class[index]] for index in ours)]
    return rows
