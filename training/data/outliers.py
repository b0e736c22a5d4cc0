"""Foreign pictures to fit with: photographs from folders and lists, and procedural ones for those who have none.

Each is labelled *others* in every group (outlier exposure, Hendrycks et al., 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.preprocess import JpegScale
from training.data.checks import shared_pictures
from training.data.contents import listed
from training.data.pixels import Pictures, PictureSource, Pixels
from training.data.procedural import FAMILIES, ProceduralPictures
from training.data.sets import DataSet, read_pictures
from training.errors import DataError, SettingError

PROCEDURAL = "procedural"
"""The name that stands for procedural pictures among the sources."""
PROCEDURAL_SHARE = 0.2
"""Of the foreign pictures of a batch, where there are photographs too."""


@dataclass(frozen=True)
class Photographs:
    """The foreign pictures of several sources, one after the other."""

    sources: tuple[DataSet, ...]
    jpeg_scale: JpegScale = "full"

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def read(self, rows: NDArray[np.int64], side: int) -> Pixels:
        """Raises DataError that names a file which cannot be read."""
        pixels = np.empty((len(rows), side, side, 3), np.uint8)
        start = 0
        for data in self.sources:
            here = (rows >= start) & (rows < start + len(data))
            if here.any():
                pixels[here] = Pictures(data, self.jpeg_scale).read(rows[here] - start, side)
            start += len(data)
        return pixels

    def fingerprint(self) -> dict[str, str | int]:
        """Of every source, by its place."""
        return {
            f"{place}.{key}": value
            for place, data in enumerate(self.sources)
            for key, value in data.fingerprint().items()
        }

    def paths(self) -> list[str]:
        """The file of each picture."""
        return [str(data.root / path) for data in self.sources for path in data.paths]


@dataclass(frozen=True)
class Procedural:
    """The first `count` procedural pictures, some of them made of the user's own."""

    count: int
    seed: int
    own: DataSet
    families: tuple[str, ...] = FAMILIES
    jpeg_scale: JpegScale = "full"  # of the user's own

    def __len__(self) -> int:
        return self.count

    def read(self, rows: NDArray[np.int64], side: int) -> Pixels:
        """Raises DataError for an own picture that cannot be read."""
        return ProceduralPictures(side, self.seed, self.own, self.families, self.jpeg_scale).read(rows)

    def fingerprint(self) -> dict[str, str | int]:
        """How many, from which seed and of which own pictures."""
        return {"procedural": self.count, "seed": self.seed, "own": self.own.fingerprint()["sha256"]}


@dataclass(frozen=True)
class Outliers:
    """What `--outliers` names; falsy where it names nothing."""

    photographs: Photographs | None
    procedural: bool

    def __bool__(self) -> bool:
        return self.photographs is not None or self.procedural

    def fingerprints(self) -> dict[str, dict[str, str | int]]:
        """What identifies each kind; made pictures follow from the run's seed and its own pictures."""
        photographs = {} if self.photographs is None else {"photographs": self.photographs.fingerprint()}
        return photographs | ({PROCEDURAL: {"families": ", ".join(FAMILIES)}} if self.procedural else {})

    def kinds(self, size: int, procedural: Procedural) -> list[tuple[PictureSource, int]]:
        """Each kind of pictures and how many of a batch's `size` foreign pictures are of it."""
        if self.photographs is None:
            return [(procedural, size)] if self.procedural else []
        made = round(PROCEDURAL_SHARE * size) if self.procedural else 0
        kinds: list[tuple[PictureSource, int]] = [(self.photographs, size - made), (procedural, made)]
        return [(source, count) for source, count in kinds if count]


def read_outliers(sources: Sequence[str], jpeg_scale: JpegScale = "full") -> Outliers:
    """Folders and list files of pictures, and the word `procedural`, in any order.

    Raises DataError for a source that holds no picture, SettingError for one that is named twice.
    """
    if len(set(sources)) < len(sources):
        raise SettingError("A source of outliers is named twice; name each once.")
    found = tuple(read_pictures(Path(source)) for source in sources if source != PROCEDURAL)
    return Outliers(Photographs(found, jpeg_scale) if found else None, PROCEDURAL in sources)


def refuse_shared(outliers: Outliers, known: DataSet) -> None:
    """Raise DataError, naming them, for photographs that are also pictures of the classes, by content."""
    if outliers.photographs is None:
        return
    shared = [str(data.root / path) for data in outliers.photographs.sources for path in shared_pictures(data, known)]
    if shared:
        raise DataError(
            f"{len(shared)} foreign pictures are pictures of the classes too: {listed(shared)}; take them out of one."
        )
