"""Batches: what the network is fitted on at each step, as a function of (seed, step) alone, whatever came before it.

A batch holds pictures of the classes and, where a run has some, foreign ones beside them: both must pass through the
network together, or what tells the two kinds of batch apart would be learnt instead.

Several processes share a batch: each draws for the whole of it, which is cheap, and reads, decodes and augments its own
share. So each picture is decoded once, and how many processes there are changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from training.data import loader
from training.data.augment import AUGMENTATIONS, crop, draw_crop, share_of
from training.data.pixels import Pictures, PictureSource
from training.distributed import rank, world_size
from training.fitting.recipes import Recipe
from training.model.group_softmax import FOREIGN

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """One process's share of a batch of `size`."""

    inputs: Tensor  # (n, ...)
    labels: Tensor  # (n,) `FOREIGN` for pictures of none of the classes
    weights: Tensor  # (n,) of each picture in the mean loss of the batch
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

    pictures: PictureSource
    load_side: int
    side: int
    augmentation: str  # of `AUGMENTATIONS`

    def read(self, rows: Rows, share: Tensor, generator: Generator) -> Tensor:
        """Decode, crop and augment this process's share."""
        augmentation = AUGMENTATIONS[self.augmentation]
        window = draw_crop(len(rows), self.load_side, self.side, generator)
        draws = augmentation.draw(len(rows), self.side, generator)
        pixels = self.pictures.read(rows[share.numpy()], self.load_side)
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


@dataclass(frozen=True)
class Foreign:
    """Pictures of none of the classes, `size` of them in each batch."""

    inputs: Inputs
    count: int
    size: int


class Batches:
    """The batches of a fit, in an order drawn anew for each epoch."""

    def __init__(
        self,
        inputs: Inputs,
        labels: NDArray[np.int64],
        recipe: Recipe,
        *,
        foreign: Sequence[Foreign] = (),
        mixup_alpha: float,
        workers: int | None,
    ) -> None:
        self.labels = torch.from_numpy(labels)
        self.seed = recipe.seed
        self.mixup_alpha = mixup_alpha
        self.workers = workers  # processes that read ahead
        self.size = min(recipe.batch_size, len(labels))  # of the classes, foreign ones not counted
        self.outlier_weight = recipe.outlier_weight
        self.parts = [
            _Part(inputs, len(labels), recipe.batch_size, recipe.seed, 0),
            *(_Part(kind.inputs, kind.count, kind.size, recipe.seed, 1 + n) for n, kind in enumerate(foreign)),
        ]
        self.per_epoch = recipe.steps_per_epoch(len(labels))
        self.steps = recipe.steps(len(labels))
        self.rank, self.world_size = rank(), world_size()

    def at(self, step: int) -> Batch:
        """This process's share of the batch of one step."""
        return self._labelled(step, self.read(step))

    def read(self, step: int) -> Tensor:
        """The inputs alone, which are what takes time."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        rows = [part.rows(step) for part in self.parts]
        read = [part.inputs.read(r, self.share(len(r)), generator) for part, r in zip(self.parts, rows, strict=True)]
        return torch.cat(read)

    def _labelled(self, step: int, inputs: Tensor) -> Batch:
        known, *foreign = (part.rows(step) for part in self.parts)
        share = self.share(len(known))
        outliers = sum(len(self.share(len(rows))) for rows in foreign)
        labels = torch.cat([self.labels[known[share.numpy()]], torch.full((outliers,), FOREIGN)])
        size = len(known) + sum(map(len, foreign))
        weights = self._weights(labels, len(known), size)
        if not self.mixup_alpha:
            return Batch(inputs, labels, weights, torch.arange(len(labels)), 1.0, size)
        # One weight for the whole batch, and partners from the same batch ("mixup", Zhang et al., 2018).
        lam = np.random.default_rng((self.seed, step, 1)).beta(self.mixup_alpha, self.mixup_alpha)
        # Neighbours are partners: the order is drawn by chance already, and a pair stays in one share.
        partner = (torch.arange(len(labels)) ^ 1).clamp(max=max(0, len(labels) - 1))
        return Batch(inputs, labels, weights, partner, float(lam), size)

    def _weights(self, labels: Tensor, known: int, size: int) -> Tensor:
        """Weights (n,) that make the mean over a batch of `size`, `known` of them of the classes, the mean over those
        and `outlier_weight` times the mean over the foreign ones.
        """
        of_foreign = self.outlier_weight * size / max(1, size - known)
        return torch.where(labels == FOREIGN, of_foreign, size / known)

    def share(self, size: int) -> Tensor:
        """The places of this process in a batch of `size`, (n,): every so many, in pairs where pictures are mixed."""
        place = torch.arange(size)
        return place[place // (2 if self.mixup_alpha else 1) % self.world_size == self.rank]

    def stream(self, first: int) -> Iterator[tuple[int, Batch]]:
        """Steps and their batches from `first` on."""
        steps = range(first, self.steps)
        for step, inputs in zip(steps, loader.read(_InputsAlone(self), steps, workers=self.workers), strict=True):
            yield step, self._labelled(step, inputs)


class _Part:
    """One kind of pictures in a batch: which rows stand in the batch of each step."""

    def __init__(self, inputs: Inputs, count: int, size: int, seed: int, kind: int) -> None:
        self.inputs = inputs
        self._count = count
        self._size = size
        self._per_lap = max(1, count // size) if size else 1
        # The known pictures' order is a function of (seed, epoch) alone.
        self._key = (seed,) if kind == 0 else (seed, kind)
        self._order: tuple[int, Rows] = (-1, np.empty(0, np.int64))

    def rows(self, step: int) -> Rows:
        """(n,) rows of this kind; each comes up at most once a lap, and the order is drawn anew for the next."""
        lap, position = divmod(step, self._per_lap)
        if self._order[0] != lap:
            self._order = (lap, np.random.default_rng((*self._key, lap)).permutation(self._count))
        return self._order[1][position * self._size : (position + 1) * self._size]


@dataclass(frozen=True)
class _InputsAlone:
    """What worker processes send: each tensor costs a connection of its own, and the rest is quickly made again."""

    batches: Batches

    def at(self, step: int) -> Tensor:
        return self.batches.read(step)


def picture_batches(
    pictures: Pictures,
    load_side: int,
    side: int,
    recipe: Recipe,
    foreign: Sequence[tuple[PictureSource, int]] = (),
    *,
    workers: int | None = None,
) -> Batches:
    """Pictures cropped to `side`, augmented and mixed as the recipe says; `foreign` ones with their number a batch."""

    def augmented(source: PictureSource) -> Inputs:
        return AugmentedPictures(source, load_side, side, recipe.augmentation)

    kinds = [Foreign(augmented(source), len(source), size) for source, size in foreign]
    inputs = augmented(pictures)
    return Batches(inputs, pictures.data.labels, recipe, foreign=kinds, mixup_alpha=recipe.mixup_alpha, workers=workers)


def feature_batches(
    views: NDArray[np.floating],
    rows_of: Rows,
    labels: NDArray[np.int64],
    recipe: Recipe,
    foreign: Sequence[tuple[NDArray[np.floating], int]] = (),
) -> Batches:
    """Cached features, unmixed; a lookup needs no reading ahead. `foreign` are views (V, M, D) and a number a batch."""
    kinds = [Foreign(CachedViews(of, np.arange(of.shape[1])), of.shape[1], size) for of, size in foreign]
    return Batches(CachedViews(views, rows_of), labels, recipe, foreign=kinds, mixup_alpha=0.0, workers=0)
