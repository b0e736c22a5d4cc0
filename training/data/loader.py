"""Reading ahead: worker processes decode and augment what the network will need next.

A source is a function of an index, and each index is read by one worker, so what comes out depends neither on how many
workers there are nor on where a run was interrupted.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.context import BaseContext
from typing import Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from training.errors import DataError, TrainingError
from training.machine import usable_cores

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ITEMS_A_WORKER = 32  # a worker takes a second or two to start, which fewer items would not repay
AHEAD = 2  # items that each worker reads ahead


class Source(Protocol[T_co]):
    """What is read: an item for each index. It is sent to every worker once, so it holds names and no pixels."""

    def at(self, index: int) -> T_co:
        """Read one item, such as a batch."""


def read(source: Source[T], indices: Sequence[int], *, workers: int | None = None) -> Iterator[T]:
    """The items at `indices`, in order, read ahead by some worker processes.

    `workers` of None takes one for each usable core, and fewer for a short list; with 0 items are read here, when they
    are asked for. Raises whatever TrainingError the source raises, and DataError where a worker dies.
    """
    count = min(usable_cores(), len(indices) // ITEMS_A_WORKER) if workers is None else workers
    if count == 0:
        yield from (source.at(index) for index in indices)
        return
    loader = DataLoader(
        _Items(source),
        batch_size=None,
        sampler=indices,
        num_workers=count,
        prefetch_factor=AHEAD,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=_context(),
        generator=torch.Generator(),  # its own, so that the network's random start does not depend on it
    )
    try:
        for item in loader:
            if isinstance(item, TrainingError):
                raise item
            yield item
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        if not _is_of_a_dead_worker(error):
            raise
        raise DataError(
            "A process that reads pictures ended too early, most often for want of memory; give fewer --workers, "
            "and run the same command again."
        ) from error


class _Items(Dataset[T], Generic[T]):
    """A source as torch's loader wants it; an error of ours is handed over whole, where the loader would rewrite it."""

    def __init__(self, source: Source[T]) -> None:
        self._source = source

    def __getitem__(self, index: int) -> T | TrainingError:  # type: ignore[override]
        try:
            return self._source.at(index)
        except TrainingError as error:
            return error


def _is_of_a_dead_worker(error: Exception) -> bool:
    """Say whether a worker ended, and not whether it met an error; one that ends while it hands over leaves a gap."""
    if isinstance(error, RuntimeError):
        return "DataLoader worker (pid" in str(error)
    return "in DataLoader worker process" not in str(error)


def _as_it_is(item: T) -> T:
    return item


def _context() -> BaseContext:
    """Workers are forked from a clean process: this one has threads, and perhaps a GPU, which do not survive a fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.data.loader", "training.data.pixels", "training.data.augment"])
    return context
