"""`--grouping` as people write it: taxonomy:NAME[:LEVEL], taxonomy:FILE, folders, clusters:K, random:K (paper §3.3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.sets import DataSet
from training.errors import GroupingError
from training.grouping import groups
from training.grouping.groups import Grouping
from training.grouping.taxonomy import Tree, built_in_tree, tree_file
from training.reproduction import Settings

DEFAULT_CLUSTERS = 3  # the paper's supplement: clusters are best at K = 2 or 3


def grouping_of(
    strategy: str | None,
    data: DataSet,
    class_means: Callable[[], NDArray[np.float32]],
    *,
    seed: int,
    settings: Settings,
) -> Grouping:
    """The grouping of `data` by a strategy; without one, super-class folders, else clusters of `class_means` (C, D).

    Raises GroupingError for a strategy that does not exist or does not fit the data.
    """
    default = "folders" if data.superclasses else f"clusters:{min(DEFAULT_CLUSTERS, len(data.classes))}"
    kind, _, value = (strategy or default).partition(":")
    if kind == "taxonomy" and value:
        return groups.from_tree(_tree(value), data.classes, source=f"The taxonomy {value}")
    if kind == "folders":
        if data.superclasses is None:
            raise GroupingError(f"{data.root} has no super-class folders; use --grouping taxonomy:FILE or clusters:K.")
        return groups.from_tree(data.superclasses, data.classes, source=f"The folder {data.root}")
    if kind == "clusters" and value.isdecimal():
        return groups.by_clustering(class_means(), int(value), seed=seed)
    if kind == "random" and value.isdecimal():
        return groups.at_random(len(data.classes), int(value), seed=seed, settings=settings)
    raise GroupingError(
        f"Grouping {strategy!r} is unknown; use taxonomy:NAME, taxonomy:FILE, folders, clusters:K or random:K."
    )


def _tree(taxonomy: str) -> Tree:
    """A file, or a built-in tree as NAME or NAME:LEVEL."""
    if taxonomy.lower().endswith((".json", ".csv")):
        return tree_file(Path(taxonomy))
    name, _, level = taxonomy.partition(":")
    try:
        return built_in_tree(name, int(level or 0))
    except ValueError as error:
        raise GroupingError(f"The level of taxonomy {taxonomy!r} is no number; write NAME:LEVEL.") from error
