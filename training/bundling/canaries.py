"""Canary pictures: generated, so that every bundle can carry them, and chosen by what its model makes of them.

What a picture is does not matter, only that the model's answer to it moves wherever something is wrong. Between them
they hold what the preprocessing has rules for: a JPEG that must be turned by its EXIF orientation, large enough to be
decoded at a reduced scale where the model has it so, a PNG with alpha and a lossless WebP. Each is a coarse mosaic of
colours under a finer one of light and dark, larger than the model's input and with cells of about a pixel of it, where
filters differ most. Of most such pictures a model is either so sure that
nothing moves it, or so unsure that rounding might change the class; so of many the most telling is taken.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.bundle import InputSpec
from service.preprocess import decode, load, squash

CANDIDATES = 24  # for each file; of the shipped model's, one in ten moves by more than 0.05 under every wrong filter
ORIENTATION_TAG = 0x0112
TURNED_RIGHT = 6

Run = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]  # pixels (N, H, W, 3) -> the model's outputs by name


def canary_pictures(run: Run, spec: InputSpec) -> dict[str, bytes]:
    """File name -> encoded picture, for a model that *run* runs on the square images of *spec*."""
    jpeg_times = 2 if spec.jpeg_scale == "reduced" else 1  # of twice the size, it is decoded at half of it
    kinds = {"turned.jpg": (_turned, jpeg_times), "alpha.png": (_cut_out, 1), "noise.webp": (_plain, 1)}
    pictures = {}
    for i, (name, (encode, times)) in enumerate(kinds.items()):
        seeds = range(i * CANDIDATES, (i + 1) * CANDIDATES)
        candidates = [encode(mosaic(seed, spec.height, times)) for seed in seeds]
        pictures[name] = max(candidates, key=lambda encoded: telling(run(right_and_wrong(encoded, spec))))
    return pictures


def telling(outputs: Mapping[str, NDArray[Any]]) -> float:
    """How surely a picture tells right from wrong, of the outputs for `right_and_wrong`; a fraction.

    It is the smaller of two: the others scores' move under the wrong filter that moves them least, and the class's lead
    over the second, which keeps the class where it is while nothing is wrong.
    """
    others_scores, top = outputs["others_scores"], outputs["topk_probability"][0]
    moves = np.abs(others_scores[1:] - others_scores[0]).max(axis=1)
    lead = top[0] - top[1] if len(top) > 1 else top[0]
    return float(min(moves.min(), lead))


def pixels_of(encoded: bytes, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the picture as the rules have it, (H, W, 3)."""
    return decode(encoded, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale)


def right_and_wrong(encoded: bytes, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the picture as the rules have it and then resized by every other filter, (1 + filters, side, side, 3)."""
    picture, side = load(encoded).convert("RGB"), spec.height
    size, steps = (side, side), (picture.width / side, picture.height / side)
    others = [picture.resize(size, one) for one in Image.Resampling if one is not Image.Resampling.BILINEAR]
    without_antialias = picture.transform(
        size, Image.Transform.AFFINE, (steps[0], 0, 0, 0, steps[1], 0), Image.Resampling.BILINEAR
    )
    wrong = [squash(one, height=side, width=side) for one in (*others, without_antialias)]
    return np.stack([pixels_of(encoded, spec), *wrong])


def mosaic(seed: int, side: int, times: int = 1) -> Image.Image:
    """Return nine fields of colour under cells of light and dark, twice as high and three times as wide as *side*.

    As many *times* larger, it looks the same at that side.
    """
    random = np.random.default_rng(seed)
    fine = max(1, 2 * side // 3)  # cells in a row: each is one and a half pixels of the model's input
    colors = random.integers(0, 256, (3, 3, 3), np.uint8)
    lights = 255 * random.integers(0, 2, (fine, fine), np.uint8)
    size = (3 * side * times, 2 * side * times)
    return Image.blend(_enlarged(colors, size), _enlarged(lights, size), alpha=0.5)


def _enlarged(cells: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(cells).convert("RGB").resize(size, Image.Resampling.NEAREST)


def _turned(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = TURNED_RIGHT
    return _encode(picture, "JPEG", quality=90, exif=exif)


def _cut_out(picture: Image.Image) -> bytes:
    """An ellipse of the picture is opaque, the rest three quarters transparent."""
    rows, columns = np.mgrid[-1 : 1 : 1j * picture.height, -1 : 1 : 1j * picture.width]
    alpha = np.where(rows**2 + columns**2 < 0.7, 255, 60).astype(np.uint8)
    picture.putalpha(Image.fromarray(alpha))
    return _encode(picture, "PNG")


def _plain(picture: Image.Image) -> bytes:
    return _encode(picture, "WEBP", lossless=True)


def _encode(picture: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()
