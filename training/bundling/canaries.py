"""Canary pictures: generated, so that every bundle can carry them, and odd enough to exercise every rule of
preprocessing.

Their verdicts do not matter, only that they never move: a JPEG that must be turned by its EXIF orientation, a PNG
with alpha and a palette-free WebP, all of another size than the model's input.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

ORIENTATION_TAG = 0x0112
TURNED_RIGHT = 6


def canary_pictures() -> dict[str, bytes]:
    """File name -> encoded picture, the same on every machine up to the encoders' versions."""
    rows, columns = np.mgrid[0:96, 0:128].astype(np.float32)
    waves = np.stack([np.sin(columns / 9), np.sin(rows / 7), np.sin((rows + columns) / 13)], axis=-1)
    picture = Image.fromarray((127.5 * (waves + 1)).astype(np.uint8), "RGB")
    alpha = Image.fromarray(np.where((rows - 48) ** 2 + (columns - 64) ** 2 < 40**2, 255, 60).astype(np.uint8), "L")
    noise = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)

    exif = Image.Exif()
    exif[ORIENTATION_TAG] = TURNED_RIGHT
    cut_out = picture.copy()
    cut_out.putalpha(alpha)
    return {
        "turned.jpg": _encode(picture, "JPEG", quality=90, exif=exif),
        "alpha.png": _encode(cut_out, "PNG"),
        "noise.webp": _encode(Image.fromarray(noise, "RGB"), "WEBP", lossless=True),
    }


def _encode(picture: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()
