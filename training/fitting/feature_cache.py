"""The features of a frozen backbone on disk: computed once, ticked off chunk by chunk, read through memory maps.

A cache is a folder. `features.json` is its fingerprint: the data, the preprocessing, the weights and the views that
the features are of; a cache of anything else is refused. Processes on several machines need the folder on a disk that
all of them see.

views.npy      float32 or float16 (V, N, D): V views of N pictures
done.npy       uint8 (V, chunks): 1 where the chunk is on the disk
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.files import reserve_array, write_text

CHUNK = 256  # pictures
KEY_NAME = "features.json"
VIEWS_NAME = "views.npy"
DONE_NAME = "done.npy"


def open_cache(folder: Path, key: dict[str, Any], shape: tuple[int, int, int], dtype: type[np.floating]) -> None:
    """Make an empty cache of `shape` (V, N, D), or make sure that the one there is of `key`.

    Raises DataError for a cache of something else, or where there is no room for this one.
    """
    file = folder / KEY_NAME
    if file.is_file():
        if _read_key(file) != key:
            raise DataError(
                f"The features in {folder} are of other data, weights or views; name another folder or delete it."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reserve_array(folder / VIEWS_NAME, dtype, shape)
        reserve_array(folder / DONE_NAME, np.uint8, (shape[0], -(-shape[1] // CHUNK)))
        write_text(file, json.dumps(key, indent=1))
    except OSError as error:
        (folder / VIEWS_NAME).unlink(missing_ok=True)
        raise DataError(
            f"The features cannot be kept in {folder} ({error.strerror}); free space or name another folder."
        ) from error


def missing(folder: Path) -> NDArray[np.bool_]:
    """Which chunks are not on the disk yet, (V, chunks)."""
    done: NDArray[np.bool_] = np.array(_map(folder / DONE_NAME, "r")).astype(np.bool_)
    return ~done


def read_cache(folder: Path) -> NDArray[np.floating]:
    """The features (V, N, D), memory-mapped."""
    return _map(folder / VIEWS_NAME, "r")


def chunk_rows(chunk: int, count: int) -> NDArray[np.int64]:
    """The rows of `count` pictures that one chunk holds."""
    return np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, count))


class CacheWriter:
    """Writes chunks and ticks each off once it is on the disk, so that an interrupted extraction goes on there."""

    def __init__(self, folder: Path) -> None:
        self._views, self._done = _map(folder / VIEWS_NAME, "r+"), _map(folder / DONE_NAME, "r+")

    def write(self, view: int, chunk: int, features: NDArray[np.float32]) -> None:
        """Keep the features (n, D) of one view of one chunk."""
        self._views[view, chunk_rows(chunk, self._views.shape[1])] = features
        self._views.flush()
        self._done[view, chunk] = 1
        self._done.flush()


def _map(file: Path, mode: Literal["r", "r+"]) -> np.memmap[Any, Any]:
    try:
        mapped: np.memmap[Any, Any] = np.load(file, mmap_mode=mode)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} is damaged or missing; delete its folder and extract the features again.") from error
    return mapped


def _read_key(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError:
        return None
