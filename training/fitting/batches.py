"""Batches: what the network is fitted on at each step, as a function of (seed, step) alone, whatever came before it.

Several processes share a batch: each draws for the whole of it, which is cheap, and reads, decodes and augments its own
share. So each picture is decoded once, and how many processes there are changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from training.data import loader
from training.data.augment import AUGMENTATIONS, crop, draw_crop, share_of
from training.data.pixels import read_rows
from training.data.sets import DataSet
from training.distributed import rank, world_size
from training.fitting.recipes import Recipe

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """One process's share of a batch of `size`."""

    inputs: Tensor  # (n, ...)
    labels: Tensor  # (n,)
    partner: Tensor  # (n,) place in this share of what each input is mixed with
    lam: float  # weight of the input itself in the mixture; 1.0 is unmixed
    size: int


class Inputs(Protocol):
    """What a network is fitted on, by rows of the data."""

    def read(self, rows: Rows, share: Tensor, generator: Generator) -> Tensor:
        """The inputs of a batch at `rows` (N,), of which this process reads those at the places `share` (n,)."""


@dataclass(frozen=True)
class AugmentedPictures:
    """Pictures squashed to `load_side`, cropped to `side` and augmented: uint8 (n, side, side, 3)."""

    data: DataSet
    load_side: int
    side: int
    augmentation: str  # of `AUGMENTATIONS`

    def read(self, rows: Rows, share: Tensor, generator: Generator) -> Tensor:
        """Decode, crop and augment this process's share."""
        augmentation = AUGMENTATIONS[self.augmentation]
        window = draw_crop(len(rows), self.load_side, self.side, generator)
        draws = augmentation.draw(len(rows), self.side, generator)
        pixels = read_rows(self.data, rows[share.numpy()], height=self.load_side, width=self.load_side)
        images = crop(torch.from_numpy(pixels), self.side, share_of(window, share))
        return augmentation.apply(images, share_of(draws, share))


@dataclass(frozen=True)
class CachedViews:
    """Features (V, M, D) of the pictures at `rows_of` (N,), a view drawn by chance each time: float32 (n, D).

    An approximation of fitting on augmented pictures: exact only without crop, flip and mixup.
    """

    views: NDArray[np.floating]
    rows_of: Rows

    def read(self, rows: Rows, share: Tensor, generator: Generator) -> Tensor:
        """Look this process's share up."""
        view = torch.randint(len(self.views), (len(rows),), generator=generator)[share].numpy()
        return torch.from_numpy(self.views[view, self.rows_of[rows[share.numpy()]]].astype(np.float32, copy=False))


class Batches:
    """The batches of a fit, in an order drawn anew for each epoch."""

    def __init__(
        self, inputs: Inputs, labels: NDArray[np.int64], recipe: Recipe, *, mixup_alpha: float, workers: int | None
    ) -> None:
        self.inputs = inputs
        self.labels = torch.from_numpy(labels)
        self.seed = recipe.seed
        self.mixup_alpha = mixup_alpha
        self.workers = workers  # processes that read ahead
        self.batch_size = recipe.batch_size
        self.size = min(recipe.batch_size, len(labels))
        self.per_epoch = recipe.steps_per_epoch(len(labels))
        self.steps = recipe.steps(len(labels))
        self.rank, self.world_size = rank(), world_size()
        self._order: tuple[int, Rows] = (-1, np.empty(0, np.int64))

    def at(self, step: int) -> Batch:
        """This process's share of the batch of one step."""
        return self._labelled(step, self.read(step))

    def read(self, step: int) -> Tensor:
        """The inputs alone, which are what takes time."""
        rows = self._rows(step)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return self.inputs.read(rows, self.share(len(rows)), generator)

    def _labelled(self, step: int, inputs: Tensor) -> Batch:
        rows = self._rows(step)
        share = self.share(len(rows))
        labels = self.labels[rows[share.numpy()]]
        if not self.mixup_alpha:
            return Batch(inputs, labels, torch.arange(len(share)), 1.0, len(rows))
        # One weight for the whole batch, and partners from the same batch ("mixup", Zhang et al., 2018).
        lam = np.random.default_rng((self.seed, step, 1)).beta(self.mixup_alpha, self.mixup_alpha)
        # Neighbours are partners: the order is drawn by chance already, and a pair stays in one share.
        partner = (torch.arange(len(share)) ^ 1).clamp(max=max(0, len(share) - 1))
        return Batch(inputs, labels, partner, float(lam), len(rows))

    def share(self, size: int) -> Tensor:
        """The places of this process in a batch of `size`, (n,): every so many, in pairs where pictures are mixed."""
        place = torch.arange(size)
        return place[place // (2 if self.mixup_alpha else 1) % self.world_size == self.rank]

    def stream(self, first: int) -> Iterator[tuple[int, Batch]]:
        """Steps and their batches from `first` on."""
        steps = range(first, self.steps)
        for step, inputs in zip(steps, loader.read(_InputsAlone(self), steps, workers=self.workers), strict=True):
            yield step, self._labelled(step, inputs)

    def _rows(self, step: int) -> Rows:
        epoch, position = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self.labels)))
        return self._order[1][position * self.batch_size : (position + 1) * self.batch_size]


@dataclass(frozen=True)
class _InputsAlone:
    """What worker processes send: each tensor costs a connection of its own, and the rest is quickly made again."""

    batches: Batches

    def at(self, step: int) -> Tensor:
        return self.batches.read(step)


def picture_batches(data: DataSet, load_side: int, side: int, recipe: Recipe, *, workers: int | None = None) -> Batches:
    """Pictures cropped to `side`, augmented and mixed as the recipe says."""
    inputs = AugmentedPictures(data, load_side, side, recipe.augmentation)
    return Batches(inputs, data.labels, recipe, mixup_alpha=recipe.mixup_alpha, workers=workers)


def feature_batches(views: NDArray[np.floating], rows_of: Rows, labels: NDArray[np.int64], recipe: Recipe) -> Batches:
    """Cached features, unmixed; a lookup needs no reading ahead."""
    return Batches(CachedViews(views, rows_of), labels, recipe, mixup_alpha=0.0, workers=0)
