"""A camera that changes, before the real pipeline: encoded pictures, the service's preprocessing, its engine."""

import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from service.bundle import Bundle
from service.inference.engine import Engine
from service.preprocess import decode

Change = Callable[[Image.Image, float], bytes]


def encoded(picture: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def blurred(picture: Image.Image, radius_pixels: float) -> bytes:
    return encoded(picture.filter(ImageFilter.GaussianBlur(radius_pixels)), format="PNG")


def darkened(picture: Image.Image, stops: float) -> bytes:
    return encoded(ImageEnhance.Brightness(picture).enhance(2**-stops), format="PNG")


def compressed(picture: Image.Image, quality_lost: float) -> bytes:
    # Without subsampling of colour: that would be a change of its own, and at once.
    return encoded(picture, format="JPEG", quality=round(100 - quality_lost), subsampling=0)


def seen_through(change: Change, pictures: Iterable[bytes], severities: Iterable[float]) -> Iterator[bytes]:
    """Yield each picture as the camera takes it at its severity."""
    for content, severity in zip(pictures, severities, strict=False):
        yield change(Image.open(io.BytesIO(content)).convert("RGB"), severity)


def scores(engine: Engine, bundle: Bundle, pictures: Iterable[bytes]) -> Iterator[float]:
    """Yield the score of each picture, as the service comes to it."""
    spec = bundle.manifest.input
    stream = iter(pictures)
    while batch := list(islice(stream, engine.max_batch_size)):
        read = partial(decode, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale)
        pixels = [read(content) for content in batch]
        yield from (row.score for row in engine.predict(np.stack(pixels)))
