"""Families made of the user's own pictures: their colours and textures, without what makes them a class.

Each makes one picture, uint8 (side, side, 3), from own pictures uint8 (k, side, side, 3). They are the nearest of all
outliers, so none may leave a picture as it was.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.random import Generator

from training.data.pixels import Pixels
from training.data.procedural.chance import between, chance, count
from training.data.procedural.fields import smooth_field

LEAST_CELL = 4  # pixels; smaller patches say nothing of a picture


def mosaics(generator: Generator, own: Pixels) -> Pixels:
    """Patches from anywhere in several pictures, as tiles in two to six rows, some mirrored."""
    side = own.shape[1]
    tiles = _grid(generator, side, fewest=2, most=6)
    cell = math.ceil(side / tiles)
    drawn = generator.integers([len(own), side - cell + 1, side - cell + 1], size=(tiles * tiles, 3)).tolist()
    patches = [own[which, top : top + cell, left : left + cell] for which, top, left in drawn]
    return _tiled(_turned(np.stack(patches), generator), side)


def jigsaws(generator: Generator, own: Pixels) -> Pixels:
    """One picture cut into three to eight rows of pieces: each in another's place, some mirrored or turned."""
    side = own.shape[1]
    tiles = _grid(generator, side, fewest=3, most=8)
    cell = math.ceil(side / tiles)
    within = side - 1 - abs(side - 1 - np.arange(tiles * cell))  # reflected where the pieces do not fit exactly
    picture = own[0][within][:, within]
    pieces = picture.reshape(tiles, cell, tiles, cell, 3).swapaxes(1, 2).reshape(-1, cell, cell, 3)
    order = generator.permutation(len(pieces))
    moved = np.empty_like(pieces)
    moved[order] = pieces[np.roll(order, 1)]  # one round trip through all places, so that no piece stays in its own
    return _tiled(_turned(moved, generator), side)


def blends(generator: Generator, own: Pixels) -> Pixels:
    """Two pictures in one: averaged, one through the holes of the other, or one under the noise of the other.

    The second stands on its head, so that two shots of one thing do not make a third.
    """
    first, second = own[0], own[1][::-1]
    if chance(generator, 0.5):
        second = second[:, ::-1]
    kind = generator.random()
    if kind < 0.25:
        hole = smooth_field(generator, own.shape[1])[:, :, None] > 0
        return np.where(hole, first, second)
    if kind < 0.5:
        second = scrambles(generator, second[None])
    share = np.float32(between(generator, 0.3, 0.6))
    return (first * share + second * (1 - share)).astype(np.uint8)


def scrambles(generator: Generator, own: Pixels) -> Pixels:
    """One picture's spectrum with other phases: its colours, contrast and grain, and none of its things."""
    side = own.shape[1]
    spectrum = scipy.fft.rfft2(own[0].astype(np.float32), axes=(0, 1))
    # The phases of real noise, so that the inverse is real; the same for all channels, which keeps colours together.
    turns = scipy.fft.rfft2(generator.standard_normal((side, side), dtype=np.float32))
    turns /= abs(turns) + np.float32(1e-6)
    turns[0, 0] = 1
    scrambled = scipy.fft.irfft2(spectrum * turns[:, :, None], s=(side, side), axes=(0, 1))
    return scrambled.clip(0, 255).astype(np.uint8)


def _grid(generator: Generator, side: int, *, fewest: int, most: int) -> int:
    """Rows of tiles, fewer where they would be too small."""
    return count(generator, fewest, min(most, max(fewest, side // LEAST_CELL)))


def _turned(pieces: Pixels, generator: Generator) -> Pixels:
    """Half of the time all pieces as they are, and else half of them mirrored, and half turned by a quarter."""
    if chance(generator, 0.5):
        return pieces
    pieces = pieces.copy()
    mirrored, turned = generator.random((2, len(pieces))) < 0.5
    pieces[mirrored] = pieces[mirrored, :, ::-1]
    pieces[turned] = pieces[turned].swapaxes(1, 2)
    return pieces


def _tiled(pieces: Pixels, side: int) -> Pixels:
    """Pieces (tiles * tiles, cell, cell, 3) -> (side, side, 3), what stands over cut off."""
    tiles, cell = math.isqrt(len(pieces)), pieces.shape[1]
    whole = pieces.reshape(tiles, tiles, cell, cell, 3).swapaxes(1, 2).reshape(tiles * cell, tiles * cell, 3)
    return whole[:side, :side]
