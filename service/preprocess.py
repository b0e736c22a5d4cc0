"""Encoded bytes to pixels: the one implementation that training's evaluation, calibration and the service share.

The rules, version 1; changing any of them changes scores, so it needs a new `InputSpec.rules`:

- The format is told by the bytes: JPEG (a multi-picture JPEG too), PNG or WebP. Of several pictures the first counts:
  a multi-picture JPEG's primary, an APNG's default image, an animated WebP's first frame.
- Size limits are checked in the header, before any row is decoded.
- Orientation is the EXIF block's (JPEG APP1, PNG eXIf, WebP EXIF); XMP and colour profiles are not looked at.
- To RGB: transparency over white; 16-bit grey scaled by 1/257 and rounded; 16-bit colour by its high byte; CMYK as
  Adobe writes it (inverted), without profiles; grey and 1-bit repeated over the channels.
- Squash-resize to (width, height) with Pillow's antialiased bilinear, in 8 bits; no crop.

Fail closed: whatever a decoder would repair or warn about is CorruptImage. Pillow's plugins consult process-wide
switches (LOAD_TRUNCATED_IMAGES, MAX_IMAGE_PIXELS, the warnings filter), and a thread pool cannot set those safely.
So JPEG and PNG are taken apart here, strictly, and only their pixel streams go to Pillow's codecs, which consult none.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, WebPImagePlugin

from service.errors import CorruptImage, EmptyBody, InputError, TooManyPixels, UnsupportedFormat

ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP")
# A 50-megapixel camera passes. One decode holds 4 bytes a pixel at least and, as a WebP, 16 at its peak: 800 MB.
DEFAULT_MAX_PIXELS = 50_000_000

# JPEG's own limit, kept for all: resizing a line of millions of pixels needs more memory than its pixels.
_MAX_SIDE_PIXELS = 65_535
# Containers of more parts than this are built to waste time, as is a progressive JPEG of more scans: each passes
# over the whole picture. Ordinary files have tens of parts and about ten scans.
_MAX_SEGMENTS = 65_536
_MAX_JPEG_SCANS = 100
# Compressed text and colour profiles of a PNG, inflated, all together. They are not used, but a file that hides
# gigabytes in them is no picture.
_MAX_METADATA_BYTES = 4 * 2**20
_INFLATE_STEP_BYTES = 4 * 2**20

_Reader = Callable[[bytes, int], tuple[Image.Image, int]]


def decode(encoded: bytes, *, height: int, width: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Return *encoded* as RGB pixels, uint8 (height, width, 3), read-only.

    Raises EmptyBody, UnsupportedFormat, TooManyPixels or CorruptImage, and nothing else.
    """
    if not encoded:
        raise EmptyBody("The body is empty; send the bytes of an image.")
    read = _reader(encoded)
    try:
        image, orientation = read(encoded, max_pixels)
        upright = image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
        flat = _without_alpha(upright)
        if flat.size != (width, height):
            flat = flat.resize((width, height), Image.Resampling.BILINEAR)
        # Last, because three equal channels resize no differently from one.
        return np.asarray(flat if flat.mode == "RGB" else flat.convert("RGB"))
    except InputError:
        raise
    except Exception as error:  # a codec's complaint, in whatever class: the border where it becomes ours
        raise _corrupt() from error


def _reader(encoded: bytes) -> _Reader:
    if encoded.startswith(b"\xff\xd8\xff"):
        return _read_jpeg
    if encoded.startswith(_PNG_SIGNATURE):
        return _read_png
    if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
        return _read_webp
    raise UnsupportedFormat(f"The bytes are no image of an allowed format; send {', '.join(ALLOWED_FORMATS)}.")


def _corrupt() -> CorruptImage:
    return CorruptImage("The image is truncated or damaged; save it again and send it whole.")


def _require(sound: bool) -> None:
    if not sound:
        raise _corrupt()


def _check_size(width: int, height: int, max_pixels: int) -> None:
    _require(width > 0 and height > 0)
    if width * height > max_pixels:
        raise TooManyPixels(f"The image has {width} x {height} pixels; send one of at most {max_pixels} pixels.")
    if max(width, height) > _MAX_SIDE_PIXELS:
        raise TooManyPixels(f"The image has {width} x {height} pixels; no side may exceed {_MAX_SIDE_PIXELS}.")


# --- JPEG ---

_JPEG_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}  # by components: mode, raw mode
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # sequential and progressive DCT; not lossless, not hierarchical
_JPEG_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_PROGRESSIVE = {0xC2, 0xCA}
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_JPEG_FILL = re.compile(rb"\xff+")


def _read_jpeg(encoded: bytes, max_pixels: int) -> tuple[Image.Image, int]:
    frame, progressive, scan_at, exif = b"", False, 0, list[bytes]()
    for marker, start, end in _jpeg_segments(encoded):
        if marker in _JPEG_OTHER_FRAMES:
            raise UnsupportedFormat("The JPEG is lossless or hierarchical; send a baseline or progressive one.")
        if marker in _JPEG_FRAMES:
            _require(not frame)
            frame, progressive = encoded[start:end], marker in _JPEG_PROGRESSIVE
        elif marker == 0xE1 and encoded.startswith(_EXIF_PREFIX, start, end):
            exif.append(encoded[start + len(_EXIF_PREFIX) : end])  # a long block goes on in the next segment
        scan_at = end
    precision, height, width, components = struct.unpack_from(">BHHB", frame)
    _check_size(width, height, max_pixels)
    _require(precision == 8 and components in _JPEG_MODES)
    _require(not progressive or encoded.count(_JPEG_SCAN, scan_at) < _MAX_JPEG_SCANS)
    _require(encoded.rfind(_JPEG_END, scan_at) >= 0)  # the codec can do without when it has all rows
    orientation = _exif_orientation(b"".join(exif))
    mode, raw_mode = _JPEG_MODES[components]
    image = Image.new(mode, (width, height), None)  # not filled: the codec writes every row or fails
    image.frombytes(encoded, "jpeg", (raw_mode, ""))
    return image, orientation


def _jpeg_segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end of the payload) of every segment up to the first scan's header."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        fill = _JPEG_FILL.match(encoded, position)
        if fill is None:
            raise _corrupt()
        position = fill.end()
        marker, length = struct.unpack_from(">BH", encoded, position)
        end = position + 1 + length
        _require(marker >= 0xC0 and end <= len(encoded))
        yield marker, position + 3, end
        if marker == _JPEG_SCAN[1]:
            return
        position = end
    raise _corrupt()


# --- PNG ---

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {  # by (bits, colour type): mode, raw mode
    (1, 0): ("1", "1"),
    (2, 0): ("L", "L;2"),
    (4, 0): ("L", "L;4"),
    (8, 0): ("L", "L"),
    (16, 0): ("I;16", "I;16B"),
    (8, 2): ("RGB", "RGB"),
    (16, 2): ("RGB", "RGB;16B"),
    (1, 3): ("P", "P;1"),
    (2, 3): ("P", "P;2"),
    (4, 3): ("P", "P;4"),
    (8, 3): ("P", "P"),
    (8, 4): ("LA", "LA"),
    (16, 4): ("RGBA", "LA;16B"),
    (8, 6): ("RGBA", "RGBA"),
    (16, 6): ("RGBA", "RGBA;16B"),
}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# x, y of the first pixel and steps to the next, for each pass of an interlaced image.
_PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# What stands before the compressed part of a metadata chunk; an iTXt may be uncompressed, then nothing matches.
_PNG_COMPRESSED = {
    b"zTXt": re.compile(rb"[^\0]*\0\0"),
    b"iCCP": re.compile(rb"[^\0]*\0\0"),
    b"iTXt": re.compile(rb"[^\0]*\0\x01\0[^\0]*\0[^\0]*\0"),
}


def _read_png(encoded: bytes, max_pixels: int) -> tuple[Image.Image, int]:
    length, kind, width, height, bits, colour, compression, filtering, interlace = struct.unpack_from(
        ">I4sIIBBBBB", encoded, len(_PNG_SIGNATURE)
    )
    _require((length, kind) == (13, b"IHDR"))
    _check_size(width, height, max_pixels)
    _require((bits, colour) in _PNG_MODES and compression == filtering == 0 and interlace in (0, 1))
    chunks: dict[bytes, bytes] = {}
    stream: list[bytes] = []
    for kind, data in _png_chunks(encoded):
        if kind == b"IDAT":
            stream.append(data)
        else:
            _require(kind not in chunks)
            chunks[kind] = data
    orientation = _exif_orientation(chunks.get(b"eXIf", b""))
    mode, raw_mode = _PNG_MODES[bits, colour]
    image = _unzipped(mode, (width, height), b"".join(stream), raw_mode, interlace, bits * _PNG_CHANNELS[colour])
    if mode == "P":
        return _with_palette(image, chunks.get(b"PLTE", b""), chunks.get(b"tRNS", b"")), orientation
    if b"tRNS" in chunks:
        _require(mode not in ("LA", "RGBA"))
        image = _key_to_white(image, chunks[b"tRNS"], bits)
    return _to_8_bit(image) if mode == "I;16" else image, orientation


def _png_chunks(encoded: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, data) of the chunks that matter, each with its checksum checked, to the end of the file."""
    view = memoryview(encoded)
    position = len(_PNG_SIGNATURE)
    metadata_bytes = _MAX_METADATA_BYTES
    for _ in range(_MAX_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", encoded, position)
        end = position + 12 + length
        _require(end <= len(encoded))
        critical = not kind[0] & 0x20
        _require(not critical or kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"))
        if critical or kind in (b"tRNS", b"eXIf"):
            (checksum,) = struct.unpack_from(">I", encoded, end - 4)
            _require(zlib.crc32(view[position + 4 : end - 4]) == checksum)
            yield kind, encoded[position + 8 : end - 4]
        elif kind in _PNG_COMPRESSED:
            metadata_bytes -= _inflated_bytes(kind, view[position + 8 : end - 4], metadata_bytes)
            _require(metadata_bytes >= 0)
        if kind == b"IEND":
            return
        position = end
    raise _corrupt()


def _unzipped(
    mode: str, size: tuple[int, int], stream: bytes, raw_mode: str, interlace: int, pixel_bits: int
) -> Image.Image:
    """Decode a PNG's pixel stream, which must hold every row.

    The codec takes a stream that ends after fewer rows for whole. Then the bottom row, black before, still is; only
    an image with such a row, or whose rows do not come in order, has its stream counted.
    """
    width, height = size
    image = Image.new(mode, size)
    image.frombytes(stream, "zip", (raw_mode, interlace))
    filled = image.getbbox() or (0, 0, 0, 0)
    if interlace or filled[3] < height:
        passes = _PNG_PASSES if interlace else ((0, 0, 1, 1),)
        rows = (((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in passes)
        _check_inflated(stream, sum(n * (1 + (pixels * pixel_bits + 7) // 8) for pixels, n in rows if pixels))
    return image


def _check_inflated(stream: bytes, expected_bytes: int) -> None:
    inflater = zlib.decompressobj()
    while stream and expected_bytes > 0:
        expected_bytes -= len(inflater.decompress(stream, _INFLATE_STEP_BYTES))
        stream = inflater.unconsumed_tail
    _require(expected_bytes <= 0)


def _inflated_bytes(kind: bytes, data: memoryview, limit: int) -> int:
    """Return how many bytes the metadata chunk inflates to, limit + 1 where they are more than *limit*."""
    head = _PNG_COMPRESSED[kind].match(data)
    return len(zlib.decompressobj().decompress(data[head.end() :], limit + 1)) if head else 0


def _with_palette(indices: Image.Image, palette: bytes, alpha: bytes) -> Image.Image:
    """Look up the colours of *indices*; *alpha* holds one value for each of the first palette entries."""
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3).astype(np.uint32)  # (n, 3)
    _require(len(alpha) <= len(colours) <= 256 and int(indices.getextrema()[1]) < len(colours))  # type: ignore[arg-type]
    opacity = np.full((len(colours), 1), 255, np.uint32)
    opacity[: len(alpha), 0] = np.frombuffer(alpha, np.uint8)
    over_white = (colours * opacity + 255 * (255 - opacity) + 127) // 255
    indices.putpalette(over_white.astype(np.uint8).tobytes())
    return indices.convert("RGB")


def _key_to_white(image: Image.Image, key: bytes, bits: int) -> Image.Image:
    """Make white, which is what transparent becomes, every pixel of the colour that *key* names in *bits* a sample."""
    samples = np.frombuffer(key, ">u2") & ((1 << bits) - 1)
    _require(samples.size == len(image.getbands()))
    if image.mode == "RGB":
        pixels = np.array(image)  # (H, W, 3)
        pixels[(pixels == samples >> max(0, bits - 8)).all(axis=2)] = 255
        return Image.fromarray(pixels)
    if image.mode == "I;16":
        deep = np.array(image)  # (H, W)
        deep[deep == samples[0]] = 65535
        return Image.fromarray(deep)
    transparent = int(samples[0]) * 255 // ((1 << bits) - 1)
    return image.convert("L").point([255 if value == transparent else value for value in range(256)])


def _to_8_bit(image: Image.Image) -> Image.Image:
    return image.convert("I").point([(value + 128) // 257 for value in range(65_536)], "L")


# --- WebP ---


class _WebpSource(io.BytesIO):
    """Gives its first 16 bytes alone: the plugin then has no size to hold against its own, process-wide limit."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(16 if self.tell() == 0 else size)


def _read_webp(encoded: bytes, max_pixels: int) -> tuple[Image.Image, int]:
    width, height = _webp_size(encoded)
    _check_size(width, height, max_pixels)
    image = WebPImagePlugin.WebPImageFile(_WebpSource(encoded))
    _require(image.size == (width, height))
    orientation = _exif_orientation(image.info.get("exif", b""))
    image.load()
    return image, orientation


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """Return (width, height) as the first chunk has them; in an extended file they are the canvas's."""
    _require(len(encoded) >= 30)
    kind = encoded[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(encoded[24:27], "little"), 1 + int.from_bytes(encoded[27:30], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(encoded[21:25], "little")  # 14 bits each
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    _require(kind == b"VP8 ")
    packed_width, packed_height = struct.unpack_from("<HH", encoded, 26)  # the two high bits are a display hint
    return packed_width & 0x3FFF, packed_height & 0x3FFF


# --- Shared ---

_EXIF_PREFIX = b"Exif\0\0"
_EXIF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_EXIF_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_EXIF_ORIENTATION_TAG = 0x0112
_EXIF_ORIENTATION_TYPES = {1: "B", 3: "H", 4: "L"}

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _exif_orientation(exif: bytes) -> int:
    """Return the orientation in the first directory of *exif*, 1 (upright) where none is given.

    A directory that does not fit into its block is corrupt, whether or not it comes to the orientation first.
    """
    block = exif.removeprefix(_EXIF_PREFIX)
    if not block:
        return 1
    _require(block[:4] in _EXIF_ORDERS)
    order = _EXIF_ORDERS[block[:4]]
    (start,) = struct.unpack_from(order + "L", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    _require(start + 2 + 12 * count + 4 <= len(block))
    orientation = 1
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values, offset = struct.unpack_from(order + "HHLL", block, position)
        size_bytes = _EXIF_TYPE_BYTES.get(kind, 0) * values
        _require(size_bytes <= 4 or offset + size_bytes <= len(block))
        if tag == _EXIF_ORIENTATION_TAG:
            _require(kind in _EXIF_ORIENTATION_TYPES and values == 1)
            (orientation,) = struct.unpack_from(order + _EXIF_ORIENTATION_TYPES[kind], block, position + 8)
    return orientation


def _without_alpha(image: Image.Image) -> Image.Image:
    """Return *image* as RGB or L, transparency over white."""
    if image.mode in ("RGB", "L"):
        return image
    if image.mode not in ("LA", "RGBA"):
        return image.convert("L" if image.mode == "1" else "RGB")
    mode = "L" if image.mode == "LA" else "RGB"
    white = Image.new(mode, image.size, "white")
    white.paste(image.convert(mode), mask=image.getchannel("A"))
    return white
