"""`--grouping` as people write it: taxonomy:NAME, taxonomy:FILE, folders, clusters:K or random:K (paper §3.3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import groups
from training.data import DataSet
from training.errors import GroupingError
from training.groups import Grouping
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
        tree = groups.tree_file(Path(value)) if value.endswith((".json", ".csv")) else groups.built_in_tree(value)
        return groups.from_tree(tree, data.classes)
    if kind == "folders":
        if data.superclasses is None:
            raise GroupingError(f"{data.root} has no super-class folders; use --grouping taxonomy:FILE or clusters:K.")
        return groups.from_tree(data.superclasses, data.classes)
    if kind == "clusters" and value.isdecimal():
        return groups.by_clustering(class_means(), int(value), seed=seed)
    if kind == "random" and value.isdecimal():
        return groups.at_random(len(data.classes), int(value), seed=seed)
    raise GroupingError(
        f"Grouping {strategy!r} is unknown; use taxonomy:NAME, taxonomy:FILE, folders, clusters:K or random:K."
    )
