"""Pixels: pictures by their row in a data set, through the service's own preprocessing.

What is trained, calibrated and evaluated is therefore what will be served. Nothing is kept: a set of millions takes no
more memory than one batch.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import InputError
from service.preprocess import JpegScale, decode, load, squash
from training.data.sets import DataSet
from training.data.shards import span_of
from training.errors import DataError
from training.machine import usable_cores

Pixels = NDArray[np.uint8]


class PictureSource(Protocol):
    """Pictures by their number: a data set, or pictures that are made."""

    @property
    def jpeg_scale(self) -> JpegScale:
        """How its JPEGs are decoded."""

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[np.int64], side: int) -> Pixels:
        """The pictures at `rows` (n,), in order: uint8 (n, side, side, 3)."""

    def fingerprint(self) -> dict[str, str | int]:
        """What identifies them."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a data set, squashed to squares."""

    data: DataSet
    jpeg_scale: JpegScale = "full"

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: NDArray[np.int64], side: int) -> Pixels:
        """Raises DataError that names a file which cannot be read."""
        return read_rows(self.data, rows, height=side, width=side, jpeg_scale=self.jpeg_scale)

    def fingerprint(self) -> dict[str, str | int]:
        """That of the data set."""
        return self.data.fingerprint()


def read_picture(
    file: Path, *, height: int, width: int, jpeg_scale: JpegScale = "full", short_side: int | None = None
) -> Pixels:
    """One picture, uint8 (H, W, 3).

    With `short_side`, one that is larger comes as if it had been stored, without loss, with one of so many pixels.

    Raises DataError that names a file which cannot be read.
    """
    try:
        content = encoded(file)
        if short_side is not None:
            picture = load(content)
            if (smaller := scaled_down(picture, short_side)) is not picture:
                return squash(smaller, height=height, width=width)
        return decode(content, height=height, width=width, jpeg_scale=jpeg_scale)
    except (OSError, InputError) as error:
        raise DataError(f"The picture {file} cannot be read ({error}) Replace it or remove it.") from error


def scaled_down(picture: Image.Image, short_side: int) -> Image.Image:
    """The picture with a short side of `short_side` pixels, in its proportions; a smaller one stays as it is."""
    factor = short_side / min(picture.size)
    if factor >= 1:
        return picture
    width, height = (max(1, round(factor * side)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)  # antialiased


def read_rows(
    data: DataSet,
    rows: Sequence[int] | NDArray[np.int64],
    *,
    height: int,
    width: int,
    jpeg_scale: JpegScale = "full",
) -> Pixels:
    """Pictures by their rows (n,), in order: uint8 (n, H, W, 3).

    Decoded by a thread for each usable core, or by one in a worker process, which has others beside it.
    """
    pixels = np.empty((len(rows), height, width, 3), np.uint8)

    def read(place: int) -> None:
        file = data.root / data.paths[int(rows[place])]
        pixels[place] = read_picture(file, height=height, width=width, jpeg_scale=jpeg_scale)

    if multiprocessing.parent_process() is not None or len(rows) == 1:
        for place in range(len(rows)):
            read(place)
        return pixels
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as pool:
        for _ in pool.map(read, range(len(rows))):
            pass
    return pixels


def read_ahead(
    data: DataSet,
    batch_size: int,
    *,
    height: int,
    width: int,
    jpeg_scale: JpegScale = "full",
    short_side: int | None = None,
) -> Iterator[Pixels]:
    """All pictures in order, in batches, as `read_picture` reads them; the next batch is decoded while one is used."""
    starts = range(0, len(data), batch_size)
    read = partial(read_picture, height=height, width=width, jpeg_scale=jpeg_scale, short_side=short_side)
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as pool:

        def submit(start: int) -> list[Future[Pixels]]:
            return [pool.submit(read, data.root / path) for path in data.paths[start : start + batch_size]]

        coming = submit(0) if len(data) else []
        for start in starts:
            batch, coming = coming, submit(start + batch_size)
            yield np.stack([picture.result() for picture in batch])


def picture_size(file: Path) -> tuple[int, int]:
    """Height and width of one picture in pixels, by its header. Raises DataError that names the file."""
    try:
        with Image.open(io.BytesIO(encoded(file))) as picture:
            return picture.height, picture.width
    except OSError as error:
        raise DataError(f"The picture {file} cannot be read; replace it or remove it.") from error


def short_sides(data: DataSet) -> NDArray[np.int64]:
    """The shorter side of every picture in pixels, (N,), by the headers. Raises DataError that names a file."""
    return np.array([min(picture_size(data.root / path)) for path in data.paths])


def encoded(file: Path) -> bytes:
    """The bytes of one picture, in a file of its own or inside a shard. Raises OSError."""
    span = span_of(str(file))
    if span is None:
        return file.read_bytes()
    with open(span.shard, "rb") as shard:
        shard.seek(span.offset)
        return shard.read(span.size_bytes)
