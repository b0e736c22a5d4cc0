"""Every picture of a data set read once: what its bytes are, how it looks when small, and whether it can be read.

What is checked before a fit and which pictures are near copies follow from it. Several processes share the reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import InputError
from service.preprocess import decode
from training.data.contents import content_hash, read_each
from training.data.pixels import encoded
from training.data.sets import DataSet
from training.distributed import gather, rank, world_size

THUMBNAIL_SIDE = 16


@dataclass(frozen=True)
class Survey:
    """What reading N pictures once tells."""

    hashes: NDArray[np.uint64]  # (N,) of the bytes; 0 where there are none
    thumbnails: NDArray[np.uint8]  # (N, side, side) grey; black where the picture cannot be read
    unreadable: dict[int, str]  # {row: why}


def survey(data: DataSet) -> Survey:
    """Read every picture of `data` with the service's own decoder."""
    share = np.array_split(np.arange(len(data)), world_size())[rank()]
    parts = gather(_survey(data, share))
    return Survey(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.thumbnails for part in parts]),
        {row: why for part in parts for row, why in part.unreadable.items()},
    )


def _survey(data: DataSet, rows: NDArray[np.int64]) -> Survey:
    hashes = np.zeros(len(rows), np.uint64)
    thumbnails = np.zeros((len(rows), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    unreadable: dict[int, str] = {}

    def read(place: int) -> None:
        row = int(rows[place])
        try:
            hashes[place], thumbnails[place] = _read(data.root / data.paths[row])
        except OSError as error:
            unreadable[row] = error.strerror or str(error)
        except InputError as error:
            unreadable[row] = str(error).rstrip(".")

    read_each(read, len(rows), "checking pictures")
    return Survey(hashes, thumbnails, dict(sorted(unreadable.items())))


def _read(file: Path) -> tuple[int, NDArray[np.uint8]]:
    content = encoded(file)
    small = decode(content, height=THUMBNAIL_SIDE, width=THUMBNAIL_SIDE)
    return content_hash(content), np.asarray(Image.fromarray(small).convert("L"))
