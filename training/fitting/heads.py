"""Heads fitted on features alone, in memory: for the many fits of a study, where no run is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.distributed import one_thread
from training.fitting.batches import feature_batches
from training.fitting.loop import fit
from training.fitting.recipes import Recipe
from training.grouping.groups import Grouping
from training.model.network import Heads


def fit_heads(
    views: NDArray[np.floating],
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    grouping: Grouping,
    recipe: Recipe,
    foreign: Sequence[tuple[NDArray[np.floating], int]] = (),
) -> Heads:
    """Both heads on the features (V, N, D) at `rows` (n,) with `labels` (n,); `foreign` as `feature_batches` has it."""
    torch.manual_seed(recipe.seed)
    heads = Heads(views.shape[2], grouping)
    batches = feature_batches(views, rows, labels, recipe, foreign)
    with tempfile.TemporaryDirectory() as scratch, one_thread():
        return fit(heads, batches, recipe, Path(scratch), lambda _: "", on_features=True)
