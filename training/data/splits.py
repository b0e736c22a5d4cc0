"""Splits: pictures held out for calibration and validation, and pictures that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.data.drawing import draw_series
from training.data.pixels import read_picture
from training.data.series import Series
from training.data.sets import DataSet
from training.errors import DataError

FITTED, CALIBRATION, VALIDATION = 0, 1, 2


@dataclass(frozen=True)
class Split:
    """A data set and the rows (n,) of its parts: held out for the threshold, held out for choices, and to fit on."""

    whole: DataSet
    calibration_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    fitted_rows: NDArray[np.int64]
    series: Series | None = None  # (N,), which no part shares with another

    @property
    def part(self) -> NDArray[np.uint8]:
        """Which part each picture of the whole (N,) is in: FITTED, CALIBRATION or VALIDATION."""
        part = np.full(len(self.whole), FITTED, np.uint8)
        part[self.calibration_rows], part[self.validation_rows] = CALIBRATION, VALIDATION
        return part

    @cached_property
    def calibration(self) -> DataSet:
        """The pictures held out for the threshold."""
        return self.whole.select(self.calibration_rows)

    @cached_property
    def validation(self) -> DataSet:
        """The pictures held out for choices."""
        return self.whole.select(self.validation_rows)

    @cached_property
    def fitted(self) -> DataSet:
        """The pictures to fit on."""
        return self.whole.select(self.fitted_rows)


def split(whole: DataSet, *, calibration: float, validation: float, seed: int, series: Series | None = None) -> Split:
    """Hold fractions of each class out, whole series (N,) where they are given; the same arguments give the same parts.

    Raises DataError where a class has no picture left to fit on.
    """
    if series is None:
        return Split(whole, *_rows(whole, (calibration, validation), seed))
    return split_by_part(whole, draw_series(whole.labels, series, (calibration, validation), seed), series)


def split_by_part(whole: DataSet, part: NDArray[np.uint8], series: Series | None) -> Split:
    """The split that has each picture in its part (N,): FITTED, CALIBRATION or VALIDATION."""
    calibration, validation, fitted = (np.flatnonzero(part == which) for which in (CALIBRATION, VALIDATION, FITTED))
    return Split(whole, calibration, validation, fitted, series)


def hold_out(data: DataSet, fractions: Sequence[float], *, seed: int) -> list[DataSet]:
    """Split into one part for each fraction, drawn by chance from every class, and the rest, which comes last.

    Raises DataError when a class has no picture left for the rest.
    """
    return [data.select(rows) for rows in _rows(data, fractions, seed)]


def _rows(data: DataSet, fractions: Sequence[float], seed: int) -> list[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(fractions) + 1)]
    by_class = np.split(np.argsort(data.labels, kind="stable"), np.cumsum(np.bincount(data.labels))[:-1])
    for label, name in enumerate(data.classes):
        members = generator.permutation(by_class[label] if label < len(by_class) else np.empty(0, np.int64))
        edges = np.cumsum([round(fraction * len(members)) for fraction in fractions])
        if len(members) <= edges[-1]:
            raise DataError(
                f"Class {name!r} has {len(members)} pictures, too few to hold {edges[-1]} out; add pictures."
            )
        for part, chosen in zip(parts, np.split(members, edges), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]


def with_substitutes(data: DataSet, *, seed: int) -> DataSet:
    """The data set as the authors' code sees it: in place of a picture that cannot be read another one, drawn by
    chance, with its label (defect B5).

    Raises DataError where no picture can be read.
    """
    readable = np.array([_is_readable(data, row) for row in range(len(data))])
    if not readable.any():
        raise DataError(f"No picture of {data.root} can be read; name another folder.")
    rows = np.arange(len(data))
    drawn = np.random.default_rng(seed).choice(rows[readable], int((~readable).sum()))
    rows[~readable] = drawn
    return data.select(rows)


def _is_readable(data: DataSet, row: int) -> bool:
    try:
        read_picture(data.root / data.paths[row], height=1, width=1)
    except DataError:
        return False
    return True
