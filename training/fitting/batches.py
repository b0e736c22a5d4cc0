"""Batches: what is shown at each step. A batch is a function of (seed, step) alone, whatever came before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment import AUGMENTATIONS, crop
from training.data.pixels import Pictures
from training.distributed import rank, world_size
from training.fitting.recipes import Recipe

Read = Callable[[NDArray[np.int64], torch.Generator], Tensor]
"""Rows (n,) of the data and the step's generator -> what the network is fitted on, (n, ...)."""


class Batch(NamedTuple):
    """One process's share of a batch of `size`."""

    inputs: Tensor  # (n, ...)
    labels: Tensor  # (n,)
    partners: Tensor  # (n,) labels of the pictures that were mixed in
    share: float  # of the picture itself in the mixture; 1.0 is unmixed
    size: int


class Batches:
    """N labelled things in an order drawn anew for each epoch."""

    def __init__(self, read: Read, labels: NDArray[np.int64], recipe: Recipe, *, mixed: bool, ahead: bool) -> None:
        self.read = read
        self.labels = torch.from_numpy(labels)
        self.recipe = recipe
        self.mixed = mixed and recipe.mixup_alpha > 0
        self.ahead = ahead  # whether the next batch is read while one is fitted
        self.size = min(recipe.batch_size, len(labels))
        self.per_epoch = recipe.steps_per_epoch(len(labels))
        self.steps = recipe.steps(len(labels))
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def at(self, step: int) -> Batch:
        """The batch of one step, this process's share of it."""
        rows = self._rows(step)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        inputs, labels, share = self.read(rows, generator), self.labels[rows], 1.0
        partner = torch.arange(len(rows))
        if self.mixed:
            # One share for the whole batch, and partners from the same batch ("mixup", Zhang et al., 2018).
            alpha = self.recipe.mixup_alpha
            share = np.random.default_rng((self.recipe.seed, step, 1)).beta(alpha, alpha)
            partner = torch.randperm(len(rows), generator=generator)
            inputs = inputs.float().lerp(inputs[partner].float(), 1 - share)
        # Every process draws the whole batch and takes its share, so that how many there are changes nothing.
        mine = slice(rank(), None, world_size())
        return Batch(inputs[mine], labels[mine], labels[partner][mine], share, len(rows))

    def stream(self, first: int) -> Iterator[tuple[int, Batch]]:
        """Steps and their batches from `first` on."""
        if not self.ahead:
            yield from ((step, self.at(step)) for step in range(first, self.steps))
            return
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
            coming = reader.submit(self.at, first) if first < self.steps else None
            for step in range(first, self.steps):
                assert coming is not None
                batch = coming.result()
                coming = reader.submit(self.at, step + 1) if step + 1 < self.steps else None
                yield step, batch

    def _rows(self, step: int) -> NDArray[np.int64]:
        epoch, position = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.labels)))
        return self._order[1][position * self.recipe.batch_size : (position + 1) * self.recipe.batch_size]


def picture_batches(pictures: Pictures, side: int, recipe: Recipe) -> Batches:
    """Pictures cropped to `side`, augmented and mixed as the recipe says."""

    def read(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        images = crop(torch.from_numpy(pictures.at(rows)), side, generator)
        return AUGMENTATIONS[recipe.augmentation](images, generator)

    return Batches(read, pictures.data.labels, recipe, mixed=True, ahead=not pictures.in_memory)


def feature_batches(
    views: NDArray[np.float32], rows_of: NDArray[np.int64], labels: NDArray[np.int64], recipe: Recipe
) -> Batches:
    """Features (V, M, D) of the pictures at `rows_of` (N,), a view drawn by chance for each time one is shown.

    An approximation of fitting on augmented pictures: exact only without crop, flip and mixup.
    """

    def read(rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        view = torch.randint(len(views), (len(rows),), generator=generator).numpy()
        return torch.from_numpy(views[view, rows_of[rows]])

    return Batches(read, labels, recipe, mixed=False, ahead=False)
