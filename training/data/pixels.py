"""The pictures of a data set as pixels: held in memory where they fit, else decoded each time they are asked for."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from training.data.sets import DataSet, read_pixels
from training.progress import track

MEMORY_BYTES = 4 << 30
CHUNK = 1024  # pictures


class Pictures:
    """N squares of `side` pixels, through the service's preprocessing.

    Raises DataError that names the first picture that cannot be read, at once where all are held in memory.
    """

    def __init__(self, data: DataSet, side: int, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self.data = data
        self.side = side
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
        self._held: NDArray[np.uint8] | None = None
        if len(data) * side * side * 3 <= memory_bytes:
            self._held = self._decode_all()

    def __len__(self) -> int:
        return len(self.data)

    @property
    def in_memory(self) -> bool:
        """Whether every picture is decoded already."""
        return self._held is not None

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures by their index, (n,) -> uint8 (n, side, side, 3)."""
        if self._held is not None:
            return self._held[rows]
        return np.stack(list(self._pool.map(self._read, rows)))

    def _decode_all(self) -> NDArray[np.uint8]:
        pixels = np.empty((len(self), self.side, self.side, 3), np.uint8)
        starts = range(0, len(self), CHUNK)
        for start in track(starts, len(starts), "decoding"):
            rows = range(start, min(start + CHUNK, len(self)))
            for row, picture in zip(rows, self._pool.map(self._read, rows), strict=True):
                pixels[row] = picture
        return pixels

    def _read(self, row: int) -> NDArray[np.uint8]:
        return read_pixels(self.data.root / self.data.paths[row], height=self.side, width=self.side)
