"""Procedural pictures by their index: which family, which own pictures, and what every family shares in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from service.preprocess import JpegScale
from training.data.pixels import Pixels, read_rows
from training.data.procedural import drawings, fields, own
from training.data.procedural.chance import chance, generator_of, sized
from training.data.sets import DataSet
from training.errors import SettingError

PAINTED: dict[str, Callable[[Generator, int], Pixels]] = {
    "noise": fields.noise,
    "gratings": fields.gratings,
    "blobs": fields.blobs,
    "strokes": drawings.strokes,
    "text": drawings.text,
    "shapes": drawings.shapes,
    "gradients": fields.gradients,
}
"""Families made from nothing."""

OF_OWN: dict[str, tuple[int, Callable[[Generator, Pixels], Pixels]]] = {
    "mosaics": (3, own.mosaics),
    "jigsaws": (1, own.jigsaws),
    "blends": (2, own.blends),
    "scrambles": (1, own.scrambles),
}
"""Families made of the user's own pictures, and of how many."""

FAMILIES = (*PAINTED, *OF_OWN)

VISIBLE = 8  # of 255, between the least and the greatest of a channel


@dataclass(frozen=True)
class ProceduralPictures:
    """Pictures without end: each a function of its index and of what is said here, whatever else is asked for.

    Families that need more own pictures than `data` has are left out; the rest take turns, so that they are equally
    frequent. Raises SettingError for a family that does not exist, and where none is left.
    """

    side: int
    seed: int
    data: DataSet | None  # the user's own pictures
    families: tuple[str, ...] = FAMILIES
    jpeg_scale: JpegScale = "full"  # of the user's own

    def __post_init__(self) -> None:
        for family in self.families:
            if family not in FAMILIES:
                raise SettingError(
                    f"There is no family of procedural pictures called {family!r}; choose from {', '.join(FAMILIES)}."
                )
        if not self.taking_turns:
            raise SettingError(
                f"No procedural picture can be made of {', '.join(self.families) or 'no family'} from {self._own_count}"
                f" own pictures; choose one of {', '.join(PAINTED)} too."
            )

    @property
    def taking_turns(self) -> tuple[str, ...]:
        """The families that there are own pictures for, in turn: index 0 is of the first."""
        return tuple(family for family in self.families if _own_needed(family) <= self._own_count)

    def read(self, indices: NDArray[np.int64]) -> Pixels:
        """The pictures at `indices` (n,): uint8 (n, side, side, 3). Raises DataError for an own one that is damaged."""
        turns = self.taking_turns
        families = [turns[index % len(turns)] for index in indices.tolist()]
        generators = [generator_of(self.seed, index) for index in indices.tolist()]
        rows = [
            generator.choice(self._own_count, _own_needed(family), replace=False, shuffle=False)
            for family, generator in zip(families, generators, strict=True)
        ]
        pictures = np.empty((len(indices), self.side, self.side, 3), np.uint8)
        for place, own_pictures in enumerate(self._read_own(rows)):
            family, generator = families[place], generators[place]
            if family in PAINTED:
                picture = painted_visibly(family, generator, self.side)
            else:
                picture = OF_OWN[family][1](generator, own_pictures)
            pictures[place] = weathered(picture, generator)
        return pictures

    @property
    def _own_count(self) -> int:
        return 0 if self.data is None else len(self.data)

    def _read_own(self, rows: list[NDArray[np.int64]]) -> list[Pixels]:
        """The own pictures of each picture, decoded together: for rows (k,) uint8 (k, side, side, 3)."""
        if self.data is None or not rows:
            return [np.empty((0, self.side, self.side, 3), np.uint8)] * len(rows)
        decoded = read_rows(
            self.data, np.concatenate(rows), height=self.side, width=self.side, jpeg_scale=self.jpeg_scale
        )
        return np.split(decoded, np.cumsum([len(some) for some in rows])[:-1])


def _own_needed(family: str) -> int:
    return OF_OWN[family][0] if family in OF_OWN else 0


def painted_visibly(family: str, generator: Generator, side: int) -> Pixels:
    """A picture of a family made from nothing, painted anew where nearly all of it fell outside the frame."""
    while True:
        picture = PAINTED[family](generator, side)
        # Down and then across: both at once takes a hundred times as long.
        least, greatest = picture.min(axis=0).min(axis=0), picture.max(axis=0).max(axis=0)
        if (greatest - least).max() >= VISIBLE:
            return picture


def weathered(picture: Pixels, generator: Generator) -> Pixels:
    """A third of all pictures as if scaled up from a smaller one, and a fifth with grain: sharpness tells nothing."""
    if chance(generator, 1 / 3):
        side = len(picture)
        small = max(4, round(side / sized(generator, 1.2, min(4, 2 + side / 100))))
        image = Image.fromarray(np.ascontiguousarray(picture)).resize((small, small), Image.Resampling.BILINEAR)
        picture = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    if chance(generator, 1 / 5):
        grain = generator.random(picture.shape, dtype=np.float32) - np.float32(0.5)
        picture = (picture + grain * np.float32(sized(generator, 4, 48))).clip(0, 255).astype(np.uint8)
    return picture
