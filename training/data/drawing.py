"""Which series are held out: drawn by chance, every class giving its share as nearly as whole series allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.series import Series

Content = list[tuple[int, int]]
"""What a series holds: (class, how many pictures of it)."""


def draw_series(labels: NDArray[np.int64], series: Series, fractions: Sequence[float], seed: int) -> NDArray[np.uint8]:
    """The part of each picture (N,): i + 1 where it is held out for fractions[i], 0 for the rest.

    Series come in an order of chance. One is taken where that brings its classes and the whole nearer to their shares,
    and never the last of a class. The first part gets the series that fits best even where all are too large for its
    share: a threshold cannot be set on nothing.
    """
    contents = _contents(labels, series)
    order = np.random.default_rng(seed).permutation(len(contents)).tolist()
    counts = np.bincount(labels)
    left = counts.tolist()  # pictures of each class that are in no part yet
    part_of = np.zeros(len(contents), np.uint8)
    for part, fraction in enumerate(fractions, 1):
        free = [number for number in order if not part_of[number]]
        wanted = (fraction * counts).tolist()
        part_of[_take(contents, free, wanted, left, at_least=1 if part == 1 and fraction else 0)] = part
    return part_of[series]


def _take(
    contents: list[Content], free: list[int], wanted: list[float], left: list[int], *, at_least: int
) -> list[int]:
    """Take series out of `left` until no free one brings the classes nearer to what is wanted of each."""
    taken: list[int] = []
    total = sum(wanted)

    def gain(number: int) -> float:
        """How much nearer the wanted counts come, of the classes and of the whole; below 0 is farther."""
        content = contents[number]
        size = sum(count for _, count in content)
        nearer = sum(abs(wanted[label]) - abs(wanted[label] - count) for label, count in content)
        return nearer + abs(total) - abs(total - size)

    def spared(number: int) -> bool:
        return all(left[label] > count for label, count in contents[number])

    def take(number: int) -> None:
        nonlocal total
        for label, count in contents[number]:
            wanted[label] -= count
            left[label] -= count
            total -= count
        taken.append(number)

    for number in free:
        if total <= 0:
            break
        if spared(number) and gain(number) > 0:
            take(number)
    if len(taken) < at_least and (spares := [number for number in free if spared(number)]):
        take(max(spares, key=gain))
    return taken


def _contents(labels: NDArray[np.int64], series: Series) -> list[Content]:
    pairs, counts = np.unique(np.stack([series, labels], axis=1), axis=0, return_counts=True)
    contents: list[Content] = [[] for _ in range(int(series.max()) + 1)]
    for (number, label), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        contents[number].append((label, count))
    return contents
