"""The arrays of an evaluation: what the model and each detector say of every picture of a set.

Scores are kept in memory; whatever has a row of numbers for each picture (features, logits) goes to the disk as it
comes, so that memory does not grow with the number of pictures beyond their scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle
from training.data.sets import DataSet
from training.errors import DataError
from training.evaluation.detector_set import DetectorSet
from training.files import reserve_array
from training.scoring.pictures import batches
from training.scoring.session import Session

MODEL_OUTPUTS = ("class_index", "others_scores", "score", "logits", "features")
ROWS = 4096  # pictures whose wide arrays are read into memory at a time

Values = dict[str, NDArray[Any]]


class Arrays:
    """Arrays of N rows that are filled from the first row on; those of more than one dimension lie in `folder`."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self.values: Values = {}

    def write(self, start: int, rows: Mapping[str, NDArray[Any]]) -> None:
        """Put some rows of each array in their place."""
        for name, part in rows.items():
            if name not in self.values:
                self.values[name] = self._reserve(name, part)
            self.values[name][start : start + len(part)] = part

    def _reserve(self, name: str, part: NDArray[Any]) -> NDArray[Any]:
        shape = (self._count, *part.shape[1:])
        if len(shape) == 1:
            return np.empty(shape, part.dtype)
        self._folder.mkdir(parents=True, exist_ok=True)
        return reserve_array(self._folder / f"{name}.npy", part.dtype, shape)


def collect(bundle: Bundle, detectors: DetectorSet, data: DataSet, folder: Path) -> Arrays:
    """Model outputs, flat logits and the detectors' own passes for every picture, each of which is decoded once."""
    session = Session(bundle.model_path.read_bytes())
    arrays, start = Arrays(folder, len(data)), 0
    for pixels in batches(bundle, data):
        rows = session.run(pixels, MODEL_OUTPUTS)
        rows["flat_logits"] = detectors.head.logits(rows["features"])
        arrays.write(start, rows | {name: run(pixels) for name, run in detectors.passes.items()})
        start += len(pixels)
    return arrays


def add_scores(detectors: DetectorSet, arrays: Arrays, name: str) -> Values:
    """The arrays with each detector's scores; `name` is the set's, for errors."""
    values = dict(arrays.values)
    count = len(values["score"])
    for start in range(0, count, ROWS):
        rows = {key: np.asarray(array[start : start + ROWS]) for key, array in values.items()}
        arrays.write(start, detectors.score(rows))
    for detector in detectors.names:
        if not np.isfinite(arrays.values[detector]).all():
            raise DataError(f"{detector} gives scores that are not finite on {name}; leave it out with --detectors.")
    return arrays.values


def keep(values: Values, kept: NDArray[np.bool_], folder: Path) -> Values:
    """The rows of some pictures alone."""
    arrays, places = Arrays(folder, int(kept.sum())), np.flatnonzero(kept)
    for start in range(0, len(places), ROWS):
        some = places[start : start + ROWS]
        arrays.write(start, {name: array[some] for name, array in values.items()})
    return arrays.values
