"""Families that are fields of numbers seen through a palette: noise, gratings, blobs and gradients.

Each paints one picture, uint8 (side, side, 3). What varies slowly is made small and scaled up.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from training.data.pixels import Pixels
from training.data.procedural.chance import between, chance, count, sized
from training.data.procedural.colours import Field, colours, of_channels, painted


def noise(generator: Generator, side: int) -> Pixels:
    """Noise with a spectrum that falls by a power (white, pink, brown and between) or is a band; grey or coloured.

    The spectrum may be stretched along one direction, as in brushed metal, wood or cloth.
    """
    grey = chance(generator, 0.5)
    shape = (1 if grey else 3, side, side // 2 + 1)
    # Uniform numbers, which are quicker: their sums are normal all the same.
    spectrum = (generator.random((*shape, 2), dtype=np.float32) - np.float32(0.5)).view(np.complex64)[..., 0]
    fields: NDArray[np.float32] = scipy.fft.irfft2(spectrum * _amplitude(generator, side), s=(side, side))
    fields /= fields.std() + np.float32(1e-6)
    if grey:
        return painted(fields[0].clip(-3, 3), generator)
    mean, spread = between(generator, 64, 192), sized(generator, 12, 90)
    return of_channels(mean + spread * fields)


def gratings(generator: Generator, side: int) -> Pixels:
    """One wave or two of them crossed, straight, round or of spokes, from sinusoids to sharp bars."""
    field = _wave(generator, side)
    if chance(generator, 0.5):
        other = _wave(generator, side)
        field = field * other if chance(generator, 0.5) else field + other
    return painted(field, generator)


def blobs(generator: Generator, side: int) -> Pixels:
    """Slow hills: smooth, cut at a height into patches, or as contour lines; at times patches of two such pictures."""
    field = smooth_field(generator, side)
    if chance(generator, 1 / 3):
        return painted(field, generator)
    height, steepness = between(generator, -0.7, 0.7), sized(generator, 1, 40)
    if chance(generator, 0.25):
        return painted(np.sin(field * np.float32(steepness)), generator)
    patches = ((field - height) * steepness).clip(-1, 1)
    if chance(generator, 0.7):
        return painted(patches, generator)
    inside, outside = (
        painted(smooth_field(generator, side), generator),
        painted(smooth_field(generator, side), generator),
    )
    return np.where(patches[:, :, None] > 0, inside, outside)


def gradients(generator: Generator, side: int) -> Pixels:
    """From colour to colour: along a line, from a point outwards, around it, or between a few points of the plane."""
    kind = count(generator, 0, 3)
    if kind == 3:
        rows, columns = count(generator, 2, 3), count(generator, 2, 3)
        corners = colours(generator, rows * columns).reshape(rows, columns, 3).astype(np.uint8)
        return np.asarray(Image.fromarray(corners).resize((side, side), Image.Resampling.BICUBIC))
    return painted(_along(generator, side, ("line", "distance", "angle")[kind]), generator)


def smooth_field(generator: Generator, side: int) -> Field:
    """A field of hills a few to some dozen pixels wide, with mean about 0 and deviation about 1, at times rugged."""
    cells = round(sized(generator, 2, max(3, min(20, side // 3))))
    field = _hills(generator, side, cells)
    if chance(generator, 0.5):
        field = field + _hills(generator, side, cells * 3) * np.float32(between(generator, 0.1, 0.7))
    return field


def _hills(generator: Generator, side: int, cells: int) -> Field:
    small = generator.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def _wave(generator: Generator, side: int) -> Field:
    """One wave in [-1, 1] of one to a third of `side` periods, at times bent; from a sinusoid to sharp bars."""
    kind = ("line", "line", "distance", "angle")[count(generator, 0, 3)]
    periods = sized(generator, 1, side / 3)
    if kind == "angle":
        periods = float(count(generator, 1, 12))  # whole, so that the spokes close
    phase = _along(generator, side, kind) * np.float32(periods)
    if chance(generator, 0.3):
        phase = phase + smooth_field(generator, side) * np.float32(between(generator, 0.05, 0.6))
    wave = np.sin((phase + np.float32(generator.random())) * np.float32(2 * math.pi))
    cut: Field = (wave * np.float32(sized(generator, 1, 16))).clip(-1, 1)
    return cut


def _along(generator: Generator, side: int, kind: str) -> Field:
    """What grows by about 1 over a picture: along a line, or with the distance from a point or the angle round it."""
    x, y = _plane(side)
    if kind == "line":
        angle = between(generator, 0, 2 * math.pi)
        return x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))
    x = x - np.float32(between(generator, -0.5, 0.5))
    y = y - np.float32(between(generator, -0.5, 0.5))
    if kind == "distance":
        return np.sqrt(x * x + y * y)
    return np.arctan2(y, x) * np.float32(1 / (2 * math.pi))


@cache
def _plane(side: int) -> tuple[Field, Field]:
    """Coordinates from -0.5 to 0.5, each (side, side)."""
    line = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


@cache
def _frequencies(side: int) -> tuple[Field, Field]:
    """Periods over the picture, down and across: (side, 1) and (1, side // 2 + 1)."""
    down = np.fft.fftfreq(side, 1 / side).astype(np.float32)[:, None]
    across = np.fft.rfftfreq(side, 1 / side).astype(np.float32)[None]
    return down, across


def _amplitude(generator: Generator, side: int) -> Field:
    """How strong each frequency is, (side, side // 2 + 1); nothing at frequency 0."""
    down, across = _frequencies(side)
    if chance(generator, 0.4):
        angle, stretch = between(generator, 0, math.pi), sized(generator, 1, 8)
        cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        down, across = (down * cosine + across * sine) * np.float32(stretch), across * cosine - down * sine
    frequency: Field = np.sqrt(down * down + across * across)
    frequency[0, 0] = 1
    if chance(generator, 0.3):
        octaves = np.log2(frequency / np.float32(sized(generator, 2, side / 2)))
        amplitude: Field = np.exp(-((octaves * np.float32(sized(generator, 1, 6))) ** 2)) / frequency
    else:
        amplitude = frequency ** np.float32(-between(generator, 0, 2.2))
    amplitude[0, 0] = 0
    return amplitude
