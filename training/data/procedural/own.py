"""Families made of the user's own pictures: their colours and textures, without what makes them a class.

Each makes one picture, uint8 (side, side, 3), from own pictures uint8 (k, side, side, 3). They are the nearest of all
outliers, so none may leave a picture as it was.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.random import Generator
from PIL import Image

from training.data.pixels import Pixels
from training.data.procedural.chance import between, chance, count
from training.data.procedural.colours import of_channels
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
    over = tiles * cell - side
    picture = np.pad(own[0], ((0, over), (0, over), (0, 0)), "reflect") if over else own[0]
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
        through_holes: Pixels = np.where(hole, first, second)
        return through_holes
    if kind < 0.5:
        second = scrambles(generator, second[None])
    below, above = Image.fromarray(first), Image.fromarray(np.ascontiguousarray(second))
    return np.asarray(Image.blend(below, above, between(generator, 0.4, 0.6)))


def scrambles(generator: Generator, own: Pixels) -> Pixels:
    """One picture's spectrum with other phases: its colours, contrast and grain, and none of its things."""
    side = own.shape[1]
    spectrum = scipy.fft.rfft2(np.ascontiguousarray(own[0].transpose(2, 0, 1), dtype=np.float32))
    # The same turn of phase in all channels keeps the colours together.
    turn = generator.random((side, side // 2 + 1), dtype=np.float32) * np.float32(2 * math.pi)
    turn[0, 0] = 0
    scrambled = scipy.fft.irfft2(spectrum * (np.cos(turn) + 1j * np.sin(turn)), s=(side, side))
    return of_channels(scrambled)


def _grid(generator: Generator, side: int, *, fewest: int, most: int) -> int:
    """Rows of tiles, fewer where they would be too small."""
    return count(generator, fewest, min(most, max(fewest, side // LEAST_CELL)))


def _turned(pieces: Pixels, generator: Generator) -> Pixels:
    """Half of the time all pieces as they are, and else half of them mirrored, and half mirrored at the diagonal."""
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
