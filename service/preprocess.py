"""Encoded bytes to pixels: the one implementation that training's evaluation, calibration and the service share.

The rules, version 1; changing any of them changes scores, so it needs a new `InputSpec.rules`:

- The format is told by the bytes: JPEG (a multi-picture JPEG too), PNG or WebP. Of several pictures the first counts:
  a multi-picture JPEG's primary, an APNG's default image, an animated WebP's first frame.
- Size limits are checked in the header, before any row is decoded.
- Orientation is the EXIF block's (JPEG APP1, PNG eXIf, WebP EXIF); XMP and colour profiles are not looked at.
- To RGB: transparency over white; 16-bit grey scaled by 1/257 and rounded; 16-bit colour by its high byte; CMYK as
  Adobe writes it (inverted), without profiles; grey and 1-bit repeated over the channels.
- Squash-resize to (width, height) with Pillow's antialiased bilinear, in 8 bits; no crop.
- Where the bundle's `jpeg_scale` is `reduced`, a JPEG is decoded at 1/8, 1/4 or 1/2 of its size: the smallest at which
  both sides of the upright picture still are twice the input's or more. Those pixels are resized, and then turned.
  The resize takes the picture's exact extent, of which the last row and column may hold but a part. A JPEG that is not
  so large, and every other format, is decoded in full.

Pillow decodes; what it warns about is refused. Damage that it does not notice passes: a JPEG broken inside its pixel
data comes out with wrong pixels, a PNG whose stream ends after too few rows with black ones.

A small file can still cost much. Limits on pixels and parts hold the worst, a progressive JPEG of many scans, to some
seconds of one thread, which outlive the caller's deadline; lower `max_pixels` where that matters.
"""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import PIL.WebPImagePlugin  # noqa: F401  Image.open would load every plugin there is to find it
from numpy.typing import NDArray
from PIL import ExifTags, Image

from service.errors import CorruptImage, EmptyBody, InputError, TooManyPixels, UnsupportedFormat

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP")
# A 50-megapixel camera passes. One decode holds 4 bytes a pixel at least and, as a WebP, 16 at its peak: 800 MB.
DEFAULT_MAX_PIXELS = 50_000_000

JpegScale = Literal["full", "reduced"]
# How many times the input's side a reduced picture keeps. With 1 the scores of photos moved three times as far.
_REDUCED_MARGIN = 2

# JPEG's own limit, kept for all: resizing a line of millions of pixels needs more memory than its pixels.
_MAX_SIDE_PIXELS = 65_535
# Pillow reads several times for every part of a file. Ordinary JPEGs have tens of parts, PNGs thousands.
_MAX_READS = {"JPEG": 4_096, "PNG": 65_536, "WEBP": 4_096}
# Parts that cost far more than their bytes: a JPEG's scan is a pass over the whole picture, each of a PNG's compressed
# metadata inflates to a megabyte. Ordinary files have about ten.
_COSTLY_PARTS: dict[str, tuple[bytes, ...]] = {"JPEG": (b"\xff\xda\0",), "PNG": (b"iCCP", b"zTXt", b"iTXt"), "WEBP": ()}
_MAX_COSTLY_PARTS = 64
# A decoder that has all rows does without the end of the file; an upload that lost it was cut all the same.
_END = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "WEBP": b""}

_TRANSPOSE = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(_TRANSPOSE[orientation] for orientation in (5, 6, 7, 8))  # what exchanges height and width

# Set once for the whole process, because threads share both. Our pixel limit is checked first and is the one to obey;
# a decoder that warns doubts, and doubt is an error.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("error", module=r"PIL\.")


def decode(
    encoded: bytes,
    *,
    height: int,
    width: int,
    jpeg_scale: JpegScale = "full",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Return *encoded* as RGB pixels, uint8 (height, width, 3), read-only.

    Raises EmptyBody, UnsupportedFormat, TooManyPixels, CorruptImage or MemoryError, and nothing else.
    """
    kind = _format(encoded)
    with _complaints_as_ours():
        image = _open(encoded, kind, max_pixels)
        if kind == "JPEG" and jpeg_scale == "reduced":
            image = _reduced(image, height=height, width=width)
        else:
            image = _in_own_size(image, encoded, kind)
        return squash(image, height=height, width=width)


def load(encoded: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Return *encoded* in its own size: upright, RGB or L of 8 bits, without alpha. Raises what `decode` does."""
    kind = _format(encoded)
    with _complaints_as_ours():
        return _in_own_size(_open(encoded, kind, max_pixels), encoded, kind)


def squash(image: Image.Image, *, height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture of `load` as RGB pixels, uint8 (height, width, 3). Raises CorruptImage or MemoryError."""
    with _complaints_as_ours():
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        # Last, because three equal channels resize no differently from one.
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


@contextmanager
def _complaints_as_ours() -> Iterator[None]:
    """The border where Pillow's complaints, of whatever class, become ours.

    Want of memory says nothing about the image: it stays a MemoryError, and becomes one where a codec reports it.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if "out of memory" in str(error):  # an OSError, like all that codecs report
            raise MemoryError from error
        raise CorruptImage("The image is truncated or damaged; save it again and send it whole.") from error


def _format(encoded: bytes) -> str:
    if not encoded:
        raise EmptyBody("The body is empty; send the bytes of an image.")
    if encoded.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return "WEBP"
    raise UnsupportedFormat(f"The bytes are no image of an allowed format; send {', '.join(ALLOWED_FORMATS)}.")


class _Source(io.BytesIO):
    """The encoded bytes, to be read in *max_reads* pieces at most."""

    def __init__(self, encoded: bytes, max_reads: int) -> None:
        super().__init__(encoded)
        self._reads_left = max_reads

    def read(self, size: int | None = -1, /) -> bytes:
        if self._reads_left == 0:
            raise OSError("The file has too many parts.")
        self._reads_left -= 1
        return super().read(size)


def _open(encoded: bytes, kind: str, max_pixels: int) -> Image.Image:
    """Return the image, its size checked and no row decoded yet."""
    if sum(map(encoded.count, _COSTLY_PARTS[kind])) > _MAX_COSTLY_PARTS:
        raise OSError("The file has too many costly parts.")
    if kind == "WEBP":
        # Pillow's plugin allocates the canvas when it opens the file.
        _check_size(*_webp_size(encoded), max_pixels)
    image = Image.open(_Source(encoded, _MAX_READS[kind]), formats=(kind,))
    _check_size(*image.size, max_pixels)
    if _END[kind] not in encoded:
        raise OSError("The file is cut off.")
    if kind == "PNG":
        # Loading ignores the checksums of the pixels, and verifying uses the image up.
        image.verify()
        image = Image.open(_Source(encoded, _MAX_READS[kind]), formats=(kind,))
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(f"The image has {width} x {height} pixels; send one of at most {max_pixels} pixels.")
    if max(width, height) > _MAX_SIDE_PIXELS:
        raise TooManyPixels(f"The image has {width} x {height} pixels; no side may exceed {_MAX_SIDE_PIXELS}.")


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """Return (width, height) as the first chunk has them; in an extended file they are the canvas's."""
    kind = encoded[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(encoded[24:27], "little"), 1 + int.from_bytes(encoded[27:30], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(encoded[21:25], "little")  # 14 bits each
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    packed_width, packed_height = struct.unpack_from("<HH", encoded, 26)  # the two high bits are a display hint
    return packed_width & 0x3FFF, packed_height & 0x3FFF


def _in_own_size(image: Image.Image, encoded: bytes, kind: str) -> Image.Image:
    """Return *image*, opened from *encoded*, as `load` does."""
    image.load()
    if kind == "PNG":
        _match_key_to_pixels(image, bits=encoded[24])
    return _without_alpha(_upright(image))


def _reduced(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Return a JPEG as `load` does, and where it is large enough, of the size that is wanted."""
    turn = _turn(image)
    size = (height, width) if turn in _SIDEWAYS else (width, height)
    scale = _scale(image.size, size)
    if scale == 1:
        image.load()
        return _without_alpha(_upright(image))
    extent = (image.width / scale, image.height / scale)
    image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    return _upright(_without_alpha(image).resize(size, Image.Resampling.BILINEAR, box=(0, 0, *extent)))


def _scale(own: tuple[int, int], wanted: tuple[int, int]) -> int:
    """Return by what to divide a picture's *own* sides so that they stay well above the *wanted* ones; 1 is nothing."""
    larger = min(one // (_REDUCED_MARGIN * other) for one, other in zip(own, wanted, strict=True))
    return next((scale for scale in (8, 4, 2) if scale <= larger), 1)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how *image* must be turned by its EXIF block."""
    exif = Image.Exif()
    exif.load(image.info.get("exif", b""))
    return _TRANSPOSE.get(exif.get(ExifTags.Base.Orientation, 1))


def _upright(image: Image.Image) -> Image.Image:
    """Return *image* turned as its EXIF block says.

    ImageOps.exif_transpose would write the block anew, which fails on tags that cameras get wrong.
    """
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _match_key_to_pixels(image: Image.Image, bits: int) -> None:
    """Bring the colour that a PNG calls transparent from *bits* a sample to 8, as Pillow does the pixels alone."""
    key = image.info.get("transparency")
    if key is not None and image.mode == "L":
        image.info["transparency"] = key * 255 // ((1 << bits) - 1)
    elif key is not None and image.mode == "RGB":
        image.info["transparency"] = tuple(sample >> max(0, bits - 8) for sample in key)


def _without_alpha(image: Image.Image) -> Image.Image:
    """Return *image* as RGB or L of 8 bits a sample, transparency over white."""
    if image.mode == "I;16":
        return _in_8_bits(image)
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as L, each value / 257 and rounded, the transparent one white."""
    grey = np.array(image)  # uint16 (H, W)
    if "transparency" in image.info:
        grey[grey == image.info["transparency"]] = 65_535
    within_16_bits = np.minimum(grey, 65_535 - 128)
    return Image.fromarray(((within_16_bits + 128) // 257).astype(np.uint8))
