"""Pictures by their content: a hash of the encoded bytes, which pictures are the same, and how they are named.

No torch: `calibrate` needs it inside the service's image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from training.data.pixels import encoded
from training.data.series import rows_by_label
from training.data.sets import DataSet
from training.errors import DataError
from training.machine import usable_cores
from training.progress import track

CHUNK = 256  # pictures
NAMED = 10  # pictures or classes that a sentence names; the others are counted


def content_hash(content: bytes) -> int:
    """64 bits of a hash: among millions of pictures two of one hash are the same picture."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little")


def content_hashes(data: DataSet, what: str = "hashing pictures") -> NDArray[np.uint64]:
    """The hash of every picture's encoded bytes, (N,); none is decoded, and one saved anew is another picture.

    Raises DataError that names a file which cannot be read.
    """
    hashes = np.zeros(len(data), np.uint64)

    def read(row: int) -> None:
        file = data.root / data.paths[row]
        try:
            hashes[row] = content_hash(encoded(file))
        except OSError as error:
            raise DataError(
                f"The picture {file} cannot be read ({error.strerror}); replace it or remove it."
            ) from error

    read_each(read, len(data), what)
    return hashes


def read_each(read: Callable[[int], None], count: int, what: str) -> None:
    """Call `read` with every number below `count`, in threads, and show how far it has come."""
    chunks = range(0, count, CHUNK)
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="read") as pool:
        for start in track(chunks, len(chunks), what):
            for _ in pool.map(read, range(start, min(start + CHUNK, count))):
                pass


def copies(hashes: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """The rows of each content that is there more than once; 0 is no content."""
    numbers = np.unique(hashes, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(numbers)
    again = np.flatnonzero((counts[numbers] > 1) & (hashes != 0))
    return [again[rows] for rows in rows_by_label(numbers[again])]


def equal(data: DataSet, same: Sequence[NDArray[np.int64]]) -> str:
    """The paths of pictures that are the same, by their rows."""
    return listed([" = ".join(data.paths[int(row)] for row in rows) for rows in same])


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
