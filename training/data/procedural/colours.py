"""Colours: grey and gaudy, strong and faint, so that no family is known by its palette.

Legend: H and W are the side of a picture.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.data.pixels import Pixels
from training.data.procedural.chance import between, chance, count

Field = NDArray[np.float32]
"""One number a pixel, float32 (H, W)."""

STANDS_OUT = 64  # of 255, before a picture is made faint
FAINTEST = 0.2  # of full contrast


def colours(generator: Generator, number: int) -> NDArray[np.float32]:
    """Colours float32 (number, 3) in [0, 255], a third of the time grey; each stands out from the first."""
    drawn = generator.random((number, 3), dtype=np.float32) * 255
    if chance(generator, 1 / 3):
        drawn[:] = drawn[:, :1]
    alike = abs(drawn - drawn[0]).max(axis=1) < STANDS_OUT
    alike[0] = False
    drawn[alike] = (drawn[0] + 128) % 256
    contrast = np.float32(1 if chance(generator, 0.5) else between(generator, FAINTEST, 1))
    faded: NDArray[np.float32] = contrast * drawn + (1 - contrast) * np.float32(between(generator, 0, 255))
    return faded


def palette(generator: Generator) -> Pixels:
    """Colours uint8 (256, 3) that pass through two to five stops, a quarter of the time in steps."""
    stops = colours(generator, count(generator, 2, 5))
    place = np.linspace(0, len(stops) - 1, 256)
    if chance(generator, 0.25):
        place = place.round()
    channels = [np.interp(place, np.arange(len(stops)), channel) for channel in stops.T]
    return np.stack(channels, axis=1).astype(np.uint8)


def painted(field: Field, generator: Generator) -> Pixels:
    """A field from its least to its greatest number through a palette: uint8 (H, W, 3)."""
    least, greatest = field.min(), field.max()
    levels = (field - least) * np.float32(255 / max(greatest - least, 1e-6))
    picture: Pixels = palette(generator).take(levels.astype(np.uint8), axis=0)
    return picture


def of_channels(channels: NDArray[np.float32]) -> Pixels:
    """Red, green and blue (3, H, W), cut to [0, 255]: uint8 (H, W, 3)."""
    red, green, blue = channels.clip(0, 255).astype(np.uint8)
    return np.stack([red, green, blue], axis=-1)
