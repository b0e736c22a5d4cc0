"""Families drawn with Pillow: strokes, text and shapes on a plain or a painted ground.

Each paints one picture, uint8 (side, side, 3). Lines are drawn at twice the size and averaged, which softens stairs.
"""

from __future__ import annotations

import math
import string
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.data.pixels import Pixels
from training.data.procedural.chance import between, chance, count, sized
from training.data.procedural.colours import colours
from training.data.procedural.fields import blobs, gradients, noise

Colour = tuple[int, ...]

FINER = 2  # how many times larger than the picture lines are drawn
CURVE_POINTS = 24
ROUND_FROM = 5  # pixels of the larger picture
GLYPHS = string.ascii_letters + string.digits + string.punctuation


def strokes(generator: Generator, side: int) -> Pixels:
    """Curves from hair-thin to broad: as a pen writes a sign on paper, as chalk does, or coloured on any ground."""
    ground, *inks = _inks(generator, 6)
    canvas = _ground(generator, side, side * FINER, ground)
    draw = ImageDraw.Draw(canvas)
    pen = sized(generator, 0.012, 0.2) * side * FINER
    one_ink, one_pen = chance(generator, 0.7), chance(generator, 0.7)
    extent = between(generator, 0.4, 1.1)  # of the side: a sign fills a part of its picture
    middle = 0.5 + max(0.0, 1 - extent) * (generator.random(2) - 0.5)
    for number in range(round(sized(generator, 1, 14 if pen < 0.05 * side * FINER else 6))):
        points = (middle + extent * _curve(generator)) * (side * FINER)
        width = pen if one_pen else pen * between(generator, 0.5, 2)
        _draw_stroke(draw, points, inks[0 if one_ink else number % len(inks)], max(1, round(width)))
    return np.asarray(canvas.reduce(FINER))


def text(generator: Generator, side: int) -> Pixels:
    """Lines of letters, digits and signs of any size, turned by any angle."""
    ground, ink = _inks(generator, 1)
    size = _font_size(sized(generator, max(7, side / 16), side * 0.8))
    written = Image.new("L", (side, side))
    draw = ImageDraw.Draw(written)
    lines = round(sized(generator, 1, max(1, side // size)))
    left, top = between(generator, -0.2, 0.3) * side, (side - lines * size * 1.1) * generator.random()
    for number in range(lines):
        length = count(generator, 1, 2 + 3 * side // (2 * size))
        glyphs = "".join(GLYPHS[place] for place in generator.integers(len(GLYPHS), size=length).tolist())
        draw.text((left, top + 1.1 * number * size), glyphs, 255, _font(size))
    if chance(generator, 0.6):
        written = written.rotate(between(generator, -180, 180), Image.Resampling.BILINEAR)
    canvas = _ground(generator, side, side, ground)
    canvas.paste(ink, mask=written)
    return np.asarray(canvas)


def shapes(generator: Generator, side: int) -> Pixels:
    """Polygons, ellipses and rectangles, filled or outlined, over one another."""
    ground, *inks = _inks(generator, 8)
    canvas = _ground(generator, side, side * FINER, ground)
    draw = ImageDraw.Draw(canvas)
    largest = between(generator, 0.2, 0.7)  # of the side, from the middle of a shape
    pen = max(1, round(side * FINER * sized(generator, 0.015, 0.08)))
    for number, corners in enumerate(_outlines(generator, count(generator, 1, round(4 / largest)), largest)):
        points, ink = (corners * (side * FINER)).tolist(), inks[number % len(inks)]
        fill, width = (None, pen) if chance(generator, 0.2) else (ink, 1)
        kind = generator.random()
        if kind < 0.4:
            draw.polygon([tuple(point) for point in points], fill, ink, width)
        else:
            draw_in_box = draw.ellipse if kind < 0.7 else draw.rectangle
            across, down = zip(*points, strict=True)
            draw_in_box((min(across), min(down), max(across), max(down)), fill, ink, width)
    return np.asarray(canvas.reduce(FINER))


def _inks(generator: Generator, number: int) -> list[Colour]:
    """A ground and `number` inks: dark on light paper, light on dark, or any colours."""
    drawn = colours(generator, number + 1)
    if chance(generator, 0.4):
        drawn *= np.float32(0.35)
        drawn[0] = 255 - drawn[0] * np.float32(0.5) * generator.random()
        if chance(generator, 0.3):
            drawn = 255 - drawn
    return [tuple(colour) for colour in drawn.astype(int).tolist()]


def _ground(generator: Generator, side: int, canvas_side: int, colour: Colour) -> Image.Image:
    """What is drawn upon: plain, or a fifth of the time a picture of another family."""
    if chance(generator, 0.8):
        return Image.new("RGB", (canvas_side, canvas_side), colour)
    family = (blobs, gradients, noise)[count(generator, 0, 2)]
    return Image.fromarray(family(generator, side)).resize((canvas_side, canvas_side), Image.Resampling.BILINEAR)


def _draw_stroke(draw: ImageDraw.ImageDraw, points: NDArray[np.float64], ink: Colour, width: int) -> None:
    """Draw a line through points (n, 2), with round ends and bends where it is broad enough to see them."""
    draw.line(points.ravel().tolist(), ink, width)
    if width > ROUND_FROM:
        reach = width / 2
        for x, y in points.tolist():
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), ink)


def _curve(generator: Generator) -> NDArray[np.float64]:
    """Points (n, 2) in [-0.5, 0.5] along a Bezier curve of 2 to 6 control points, or a quarter of the time angular."""
    control = generator.random((count(generator, 2, 6), 2)) - 0.5
    if chance(generator, 0.25):
        return control
    curve: NDArray[np.float64] = (_bernstein(len(control))[:, :, None] * control).sum(axis=1)
    return curve


@cache
def _bernstein(order: int) -> NDArray[np.float64]:
    """The weight of each control point at each point of a curve, (CURVE_POINTS, order)."""
    along, place = np.linspace(0, 1, CURVE_POINTS)[:, None], np.arange(order)
    ways = np.array([math.comb(order - 1, each) for each in place])
    weights: NDArray[np.float64] = ways * along**place * (1 - along) ** (order - 1 - place)
    return weights


def _outlines(generator: Generator, number: int, largest: float) -> list[NDArray[np.float32]]:
    """Shapes of three to seven corners (n, 2) in turn round a point of the picture, at most `largest` from it."""
    middle, size = 0.1 + 0.8 * generator.random((number, 1, 2), dtype=np.float32), generator.random((number, 1, 1))
    angle = np.sort(generator.random((number, 7), dtype=np.float32)) * np.float32(2 * math.pi)
    reach = 0.08 * (largest / 0.08) ** size * (0.5 + 0.5 * generator.random((number, 7, 1), dtype=np.float32))
    corners = middle + reach * np.stack([np.cos(angle), np.sin(angle)], axis=2)
    return [some[: count(generator, 3, 7)] for some in corners]


def _font_size(wanted: float) -> int:
    """The nearest of a few sizes in pixels, so that few fonts are kept."""
    return round(1.2 ** round(math.log(wanted, 1.2)))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
