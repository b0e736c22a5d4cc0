"""What detectors learn from in-distribution pictures, and the bundle's `detectors.npz`, which holds it.

The file has the flat head (`flat_weight`, `flat_bias`) and every detector's statistics as `DETECTOR/NAME`. Detectors
round what they fit to the precision it is stored in, so scores do not depend on whether statistics were read back.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.detectors import DETECTORS, FitData, Head, Statistics
from training.errors import DataError

FILE_NAME = "detectors.npz"


def fit_statistics(data: FitData) -> dict[str, NDArray[Any]]:
    """Every detector's statistics, under `DETECTOR/NAME`.

    Raises DataError where there is no picture to fit on.
    """
    for name, labels in (("training", data.train_labels), ("held-out", data.held_out_labels)):
        if not len(labels):
            raise DataError(f"There are no {name} pictures to fit the detectors on; name a data set that has some.")
    return {
        f"{detector}/{name}": value
        for detector, entry in DETECTORS.items()
        if entry.fit is not None
        for name, value in entry.fit(data).items()
    }


def detectors_file(head: Head, statistics: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of `detectors.npz`. An array that several detectors share is stored once, and then by its key."""
    entries: dict[str, NDArray[Any]] = {"flat_weight": head.weight, "flat_bias": head.bias}
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    for key, value in statistics.items():
        home = first.setdefault((value.dtype.str, value.shape, value.tobytes()), key)
        entries[key] = value if home == key else np.array(home)
    file = io.BytesIO()
    np.savez_compressed(file, **entries)  # type: ignore[arg-type]
    return file.getvalue()


def read_detectors(bundle_path: Path, detectors: Iterable[str] = ()) -> tuple[Head, dict[str, Statistics]]:
    """The flat head and {detector: {name: array}} of a bundle, with an empty entry for detectors that fit nothing.

    Raises DataError for a file that is missing or damaged, or that lacks the statistics of one of `detectors`.
    """
    file = bundle_path / FILE_NAME
    entries = _read(file)
    if "flat_weight" not in entries or "flat_bias" not in entries:
        raise DataError(f"{file} has no flat head; export the bundle again.")
    statistics: dict[str, dict[str, NDArray[Any]]] = {
        name: {} for name, entry in DETECTORS.items() if entry.fit is None
    }
    for key, value in entries.items():
        detector, _, name = key.partition("/")
        if name:
            shared = value.dtype.kind == "U"
            statistics.setdefault(detector, {})[name] = entries[str(value)] if shared else value
    lacking = [name for name in detectors if name not in statistics]
    if lacking:
        raise DataError(
            f"{file} has no statistics for {lacking[0]}; export the bundle again, or leave {lacking[0]} out."
        )
    return Head(entries["flat_weight"], entries["flat_bias"]), dict(statistics)


def _read(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as saved:
            return dict(saved)
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing, and with it the flat head; export the bundle again.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read as saved statistics; export the bundle again.") from error
