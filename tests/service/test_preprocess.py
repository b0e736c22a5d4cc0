"""Encoded bytes to pixels: every rule, every refusal."""

import contextlib
import io
import random
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from service.errors import CorruptImage, EmptyBody, InputError, TooManyPixels, UnsupportedFormat
from service.preprocess import ALLOWED_FORMATS, DEFAULT_MAX_PIXELS, decode

HEIGHT, WIDTH = 20, 30
Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Return an image that survives lossy codecs: (height, width, 3), no symmetry."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([200 * x, 150 * y + 50, 255 * x * y], axis=2).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    rows: bytes,
    *,
    bits: int,
    colour: int,
    size: tuple[int, int],
    chunks: bytes = b"",
    compression: int = 0,
    filtering: int = 0,
    interlace: int = 0,
) -> bytes:
    """Return a PNG of unfiltered *rows*, each with its filter byte; *size* is (width, height)."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, compression, filtering, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_of(pixels: NDArray[Any], *, bits: int, colour: int, chunks: bytes = b"") -> bytes:
    """Return a PNG of big-endian *pixels*, (H, W) or (H, W, channels), of 8 or 16 bits a sample."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png(rows, bits=bits, colour=colour, size=(pixels.shape[1], pixels.shape[0]), chunks=chunks)


def own_size(encoded: bytes) -> Pixels:
    """Decode without resizing."""
    with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size
    return decode(encoded, height=height, width=width)


def exif(orientation: int, *, order: str = "<", kind: str = "H") -> bytes:
    """Return a TIFF block whose one tag is the orientation."""
    number = {"B": 1, "H": 3, "L": 4}[kind]
    entry = struct.pack(order + "HHL", 0x0112, number, 1) + struct.pack(order + kind, orientation).ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return head + struct.pack(order + "LH", 8, 1) + entry + struct.pack(order + "L", 0)


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def jpeg_with(payload: bytes, marker: int = 0xE1) -> bytes:
    """Return a JPEG with one more segment at its head."""
    encoded = encode(Image.fromarray(smooth()), "JPEG")
    return encoded[:2] + jpeg_segment(marker, payload) + encoded[2:]


EXAMPLES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(Image.fromarray(smooth()), "JPEG"),
    "jpeg progressive": lambda: encode(Image.fromarray(smooth()), "JPEG", progressive=True),
    "jpeg grey": lambda: encode(Image.fromarray(smooth()).convert("L"), "JPEG"),
    "jpeg cmyk": lambda: encode(Image.fromarray(smooth()).convert("CMYK"), "JPEG"),
    "png": lambda: encode(Image.fromarray(smooth()), "PNG"),
    "png palette": lambda: encode(Image.fromarray(smooth()).quantize(16), "PNG"),
    "webp": lambda: encode(Image.fromarray(smooth()), "WEBP"),
    "webp lossless": lambda: encode(Image.fromarray(smooth()), "WEBP", lossless=True),
    "webp alpha": lambda: encode(Image.fromarray(noise(HEIGHT, WIDTH, 4)), "WEBP", lossless=True),
}
each_example = pytest.mark.parametrize("name", EXAMPLES)


# --- Size and type of the answer ---


@each_example
def test_result_is_rgb_of_the_size_asked_for(name: str) -> None:
    """Height comes first, three channels last, whatever went in."""
    pixels = decode(EXAMPLES[name](), height=7, width=11)
    assert (pixels.shape, pixels.dtype) == ((7, 11, 3), np.uint8)


@pytest.mark.parametrize("size", [(8, 8), (224, 224), (5, 300), (HEIGHT, WIDTH), (WIDTH, HEIGHT)])
def test_resize_squashes_with_antialiased_bilinear(size: tuple[int, int]) -> None:
    """No crop and no padding: the whole picture, by Pillow's bilinear, to the last bit."""
    height, width = size
    image = Image.fromarray(noise(HEIGHT, WIDTH, 3))
    expected = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    assert np.array_equal(decode(encode(image, "PNG"), height=height, width=width), expected)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA"])
def test_resize_comes_after_the_colours(mode: str) -> None:
    """Every mode is resized as colours: Pillow would otherwise pick the nearest of palette entries and bits."""
    image = Image.fromarray(noise(HEIGHT, WIDTH, 4)).convert("RGB" if mode == "CMYK" else "RGBA").convert(mode)
    encoded = encode(image, "JPEG" if mode == "CMYK" else "PNG")
    expected = Image.fromarray(own_size(encoded)).resize((9, 6), Image.Resampling.BILINEAR)
    assert np.array_equal(decode(encoded, height=6, width=9), np.asarray(expected))


def test_photos_are_what_pillow_makes_of_them(photos: list[bytes]) -> None:
    """On ordinary photos the strict path and Pillow's own agree on every pixel."""
    for encoded in photos:
        with Image.open(io.BytesIO(encoded)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        expected = np.asarray(upright.resize((224, 224), Image.Resampling.BILINEAR))
        assert np.array_equal(decode(encoded, height=224, width=224), expected)


@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "jpeg grey", "jpeg cmyk", "webp", "webp lossless"])
def test_colours_are_what_pillow_makes_of_them(name: str) -> None:
    """Formats without a rule of ours keep Pillow's colours."""
    encoded = EXAMPLES[name]()
    with Image.open(io.BytesIO(encoded)) as opened:
        assert np.array_equal(own_size(encoded), np.asarray(opened.convert("RGB")))


def test_ycck_is_told_from_cmyk() -> None:
    """Adobe's transform flag is honoured."""
    cmyk = EXAMPLES["jpeg cmyk"]()
    flag = cmyk.index(b"Adobe") + 11
    ycck = cmyk[:flag] + b"\x02" + cmyk[flag + 1 :]
    with Image.open(io.BytesIO(ycck)) as opened:
        assert np.array_equal(own_size(ycck), np.asarray(opened.convert("RGB")))
    assert not np.array_equal(own_size(ycck), own_size(cmyk))


# --- Orientation ---


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ALLOWED_FORMATS)
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    """A picture taken sideways is judged upright, in every format; the target size is of the upright picture."""
    image = Image.fromarray(smooth())
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(image, kind, exif=tags, **options)
    with Image.open(io.BytesIO(encoded)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    assert np.array_equal(decode(encoded, height=upright.height, width=upright.width), np.asarray(upright))
    expected = np.asarray(upright.resize((9, 6), Image.Resampling.BILINEAR))
    assert np.array_equal(decode(encoded, height=6, width=9), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["B", "H", "L"])
def test_orientation_is_read_in_either_byte_order_and_any_width(order: str, kind: str) -> None:
    """Cameras differ in how they write the same number."""
    encoded = jpeg_with(b"Exif\0\0" + exif(3, order=order, kind=kind))
    assert np.array_equal(own_size(encoded), own_size(EXAMPLES["jpeg"]())[::-1, ::-1])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_upright(orientation: int) -> None:
    """Zero is written by real cameras for `unknown`."""
    encoded = jpeg_with(b"Exif\0\0" + exif(orientation))
    assert np.array_equal(own_size(encoded), own_size(EXAMPLES["jpeg"]()))


def test_exif_in_two_segments_is_one_block() -> None:
    """A block longer than a segment goes on in the next."""
    block = exif(3)
    plain = EXAMPLES["jpeg"]()
    segments = b"".join(jpeg_segment(0xE1, b"Exif\0\0" + part) for part in (block[:12], block[12:]))
    assert np.array_equal(own_size(plain[:2] + segments + plain[2:]), own_size(plain)[::-1, ::-1])


def test_png_orientation_may_follow_the_pixels() -> None:
    """The eXIf chunk is honoured wherever it stands."""
    plain = EXAMPLES["png"]()
    encoded = plain[:-12] + chunk(b"eXIf", exif(3)) + plain[-12:]
    assert np.array_equal(own_size(encoded), own_size(plain)[::-1, ::-1])


def _exif_of(entries: bytes, count: int, tail: bytes = bytes(4)) -> bytes:
    return b"II*\0" + struct.pack("<LH", 8, count) + entries + tail


@pytest.mark.parametrize(
    "block",
    [
        b"II",
        b"garbage!",
        b"II*\0\xff\xff\xff\xff",
        exif(1)[:-1],
        exif(1)[:-9],
        _exif_of(b"", 500),
        _exif_of(struct.pack("<HHLL", 0x010F, 2, 100, 26), 1),
        _exif_of(struct.pack("<HHLL", 0x010F, 2, 5, 0xFFFFFFFF), 1),
        _exif_of(struct.pack("<HHLL", 0x0112, 2, 1, 3), 1),
        _exif_of(struct.pack("<HHLL", 0x0112, 3, 2, 3), 1),
    ],
)
@pytest.mark.parametrize("where", ["jpeg", "png"])
def test_exif_that_does_not_fit_is_corrupt(where: str, block: bytes) -> None:
    """What Pillow would warn about, or guess at, is refused, and no warning is raised on the way."""
    plain = EXAMPLES["png"]()
    encoded = {"jpeg": jpeg_with(b"Exif\0\0" + block), "png": plain[:33] + chunk(b"eXIf", block) + plain[33:]}[where]
    with warnings.catch_warnings(record=True, action="always") as raised, pytest.raises(CorruptImage):
        own_size_of_example(encoded)
    assert not raised


def own_size_of_example(encoded: bytes) -> Pixels:
    """Decode an image of HEIGHT x WIDTH without resizing, and without Pillow's look at it."""
    return decode(encoded, height=HEIGHT, width=WIDTH)


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_an_empty_exif_block_says_nothing(block: bytes) -> None:
    """Some writers leave the prefix alone behind."""
    assert np.array_equal(own_size_of_example(jpeg_with(block)), own_size(EXAMPLES["jpeg"]()))


# --- Transparency ---


def over_white(rgba: NDArray[Any]) -> Pixels:
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:].astype(float)
    return np.rint((colour * alpha + 255 * (255 - alpha)) / 255).astype(np.uint8)


def test_alpha_is_laid_over_white() -> None:
    """Every alpha, properly rounded."""
    rgba = noise(64, 64, 4)
    assert np.array_equal(own_size(encode(Image.fromarray(rgba), "PNG")), over_white(rgba))


def test_grey_with_alpha_is_laid_over_white() -> None:
    """LA is grey first, then over white."""
    grey = noise(64, 64, 2)
    encoded = png_of(grey, bits=8, colour=4)
    assert np.array_equal(own_size(encoded), over_white(grey[..., [0, 0, 0, 1]]))


def test_webp_alpha_is_laid_over_white() -> None:
    """WebP is no exception; transparent pixels keep no hidden colour."""
    rgba = noise(64, 64, 4)
    encoded = encode(Image.fromarray(rgba), "WEBP", lossless=True, exact=True)
    assert np.array_equal(own_size(encoded), over_white(rgba))


def test_palette_alpha_is_laid_over_white() -> None:
    """tRNS gives the first entries of a palette their alpha; the rest are opaque."""
    palette, alpha = noise(8, 3), np.array([0, 100, 255, 7], np.uint8)
    indices = noise(16, 16) % 8
    chunks = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", alpha.tobytes())
    rgba = np.concatenate([palette, np.r_[alpha, [255] * 4][:, None]], axis=1)
    expected = over_white(rgba)[indices]
    assert np.array_equal(own_size(png_of(indices, bits=8, colour=3, chunks=chunks)), expected)


def test_a_transparent_grey_becomes_white() -> None:
    """tRNS names one grey of an 8-bit image."""
    grey = noise(16, 16) % 4
    encoded = png_of(grey, bits=8, colour=0, chunks=chunk(b"tRNS", struct.pack(">H", 2)))
    assert np.array_equal(own_size(encoded)[..., 1], np.where(grey == 2, 255, grey))


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17)])
def test_a_transparent_grey_is_in_the_images_own_depth(bits: int, step: int) -> None:
    """tRNS counts in the samples of the file, not in the 8 bits they become."""
    row = b"\0" + bytes([1 << (8 - 2 * bits)])  # samples 0 and 1
    assert own_size(png(row, bits=bits, colour=0, size=(2, 1)))[0, :, 0].tolist() == [0, step]
    for key, shades in ((0, [255, step]), (1, [0, 255])):
        encoded = png(row, bits=bits, colour=0, size=(2, 1), chunks=chunk(b"tRNS", struct.pack(">H", key)))
        assert own_size(encoded)[0, :, 0].tolist() == shades


def test_a_transparent_16_bit_grey_is_matched_in_16_bits() -> None:
    """Its neighbour, one 65536th away, stays."""
    grey = np.array([[1000, 1001]], ">u2")
    encoded = png_of(grey, bits=16, colour=0, chunks=chunk(b"tRNS", struct.pack(">H", 1000)))
    assert own_size(encoded)[0, :, 0].tolist() == [255, 4]


def test_a_transparent_colour_becomes_white() -> None:
    """tRNS names one colour of an RGB image; all three channels must match."""
    pixels = np.array([[[1, 2, 3], [1, 2, 4], [0, 0, 0]]], np.uint8)
    encoded = png_of(pixels, bits=8, colour=2, chunks=chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)))
    assert own_size(encoded).tolist() == [[[255, 255, 255], [1, 2, 4], [0, 0, 0]]]


# --- Depth ---


def test_16_bit_grey_is_scaled_and_rounded() -> None:
    """All 65536 values: v / 257, rounded, neither clipped nor cut."""
    grey = np.arange(65536).reshape(256, 256).astype(">u2")
    expected = np.rint(np.arange(65536) / 257).astype(np.uint8).reshape(256, 256)
    assert np.array_equal(own_size(png_of(grey, bits=16, colour=0))[..., 2], expected)


def test_16_bit_colour_keeps_its_high_byte() -> None:
    """Deep colour becomes 8 bits by its high byte."""
    pixels = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype(">u2")
    assert np.array_equal(own_size(png_of(pixels, bits=16, colour=2)), (pixels >> 8).astype(np.uint8))


@pytest.mark.parametrize("colour", [4, 6])
def test_16_bit_alpha_is_laid_over_white(colour: int) -> None:
    """Deep grey and deep colour with alpha go the same way."""
    pixels = np.random.default_rng(0).integers(0, 65536, (8, 8, 2 if colour == 4 else 4)).astype(">u2")
    high = (pixels >> 8).astype(np.uint8)
    rgba = high[..., [0, 0, 0, 1]] if colour == 4 else high
    assert np.array_equal(own_size(png_of(pixels, bits=16, colour=colour)), over_white(rgba))


def test_one_bit_is_black_and_white() -> None:
    """1-bit images, as scanners make them."""
    image = Image.fromarray(noise(16, 16)).convert("1")
    assert np.array_equal(own_size(encode(image, "PNG"))[..., 0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(
    ("bits", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]
)
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (3, 5), (9, 17)])
def test_every_layout_decodes_black_and_white(size: tuple[int, int], bits: int, colour: int, interlace: int) -> None:
    """All depths, plain and interlaced; an all-black one is whole too, and one that lacks its last byte is not."""
    pixel_bits = bits * {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    rows = b"".join(b"\0" + bytes([255]) * -(-pixels * pixel_bits // 8) for pixels in row_lengths(size, interlace))
    opaque_black = bits == 8 and colour == 2
    for sample, shade in ((b"\xff", 255), *([(b"\0", 0)] if opaque_black or colour == 0 else [])):
        encoded = png(rows.replace(b"\xff", sample), bits=bits, colour=colour, size=size, interlace=interlace)
        assert np.array_equal(own_size(encoded), np.full((size[1], size[0], 3), shade))
    with pytest.raises(CorruptImage):
        decode(png(rows[:-1], bits=bits, colour=colour, size=size, interlace=interlace), height=8, width=8)


def row_lengths(size: tuple[int, int], interlace: int) -> list[int]:
    """Return the length in pixels of each row of a PNG's stream, found by walking over every pixel."""
    if not interlace:
        return [size[0]] * size[1]
    pattern = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
    rows: dict[tuple[str, int], int] = {}
    for y in range(size[1]):
        for x in range(size[0]):
            row = (pattern[y % 8][x % 8], y)
            rows[row] = rows.get(row, 0) + 1
    return [pixels for _, pixels in sorted(rows.items())]


# --- More than one picture ---


def test_the_first_frame_of_an_animation_counts() -> None:
    """An animated PNG or WebP is its first picture."""
    first, second = Image.new("RGB", (8, 8), (200, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 200))
    for kind in ("PNG", "WEBP"):
        encoded = encode(first, kind, save_all=True, append_images=[second], duration=10, lossless=True)
        assert own_size(encoded).tolist() == np.asarray(first).tolist()


def test_a_multi_picture_jpeg_is_its_primary() -> None:
    """Phones write MPO: a JPEG with more behind it."""
    first, second = Image.fromarray(smooth()), Image.new("RGB", (WIDTH, HEIGHT))
    encoded = encode(first, "MPO", save_all=True, append_images=[second])
    with Image.open(io.BytesIO(encoded)) as opened:
        assert opened.format == "MPO"
    assert np.array_equal(own_size(encoded), own_size(EXAMPLES["jpeg"]()))


# --- What is refused ---


def test_an_empty_body_is_told_apart() -> None:
    """Nothing at all is not a corrupt image."""
    with pytest.raises(EmptyBody):
        decode(b"", height=8, width=8)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PDF", "JPEG2000", "AVIF", "EPS"])
def test_other_formats_are_unsupported(kind: str) -> None:
    """Formats are told by their bytes; what Pillow could open besides is refused all the same."""
    with pytest.raises(UnsupportedFormat):
        decode(encode(Image.fromarray(smooth()), kind), height=8, width=8)


@pytest.mark.parametrize(
    "encoded",
    [b"\0", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"hello", b"RIFF\0\0\0\0WAVE"],
)
def test_other_bytes_are_unsupported(encoded: bytes) -> None:
    """Text, sound and scripts are no images."""
    with pytest.raises(UnsupportedFormat):
        decode(encoded, height=8, width=8)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC7, 0xCF])
def test_kinds_of_jpeg_nobody_sends_are_unsupported(marker: int) -> None:
    """Lossless and hierarchical JPEG are named, not called corrupt."""
    encoded = EXAMPLES["jpeg"]().replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    with pytest.raises(UnsupportedFormat):
        decode(encoded, height=8, width=8)


@each_example
def test_the_pixel_limit_is_inclusive(name: str) -> None:
    """As many pixels as allowed pass, one more does not."""
    encoded = EXAMPLES[name]()
    decode(encoded, height=8, width=8, max_pixels=HEIGHT * WIDTH)
    with pytest.raises(TooManyPixels, match=f"{WIDTH} x {HEIGHT}"):
        decode(encoded, height=8, width=8, max_pixels=HEIGHT * WIDTH - 1)


def _png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def _jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"\xff\xd8" + jpeg_segment(0xC0, frame) + jpeg_segment(0xDA, bytes(10))


def _webp_header(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas


@pytest.mark.parametrize("header", [_png_header, _jpeg_header, _webp_header])
@pytest.mark.parametrize("size", [(65_000, 65_000), (50_000, 1_001)])
def test_the_size_is_seen_in_the_header(header: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    """A bomb is refused for its size before a single row: here there are none to decode."""
    assert size[0] * size[1] > DEFAULT_MAX_PIXELS
    with pytest.raises(TooManyPixels):
        decode(header(*size), height=8, width=8)
    with pytest.raises(CorruptImage):
        decode(header(8, 8), height=8, width=8)


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536)])
def test_a_side_can_be_too_long_by_itself(size: tuple[int, int]) -> None:
    """A line of pixels within the pixel limit can still cost more memory to resize than it holds."""
    with pytest.raises(TooManyPixels, match="side"):
        decode(_png_header(*size), height=8, width=8)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (2, 3)])
def test_tiny_and_narrow_images_decode(size: tuple[int, int]) -> None:
    """Every size within the limits is an image."""
    encoded = encode(Image.new("RGB", size, (1, 2, 3)), "PNG")
    assert np.array_equal(decode(encoded, height=8, width=8), np.full((8, 8, 3), (1, 2, 3)))


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (0, 0)])
def test_an_image_without_pixels_is_corrupt(size: tuple[int, int]) -> None:
    """Zero is no size."""
    with pytest.raises(CorruptImage):
        decode(_png_header(*size), height=8, width=8)


@each_example
def test_a_truncated_image_is_corrupt_wherever_it_ends(name: str) -> None:
    """No prefix of an image is an image."""
    encoded = EXAMPLES[name]()
    for length in range(12, len(encoded)):
        with pytest.raises(CorruptImage):
            decode(encoded[:length], height=8, width=8)


@each_example
def test_bytes_behind_the_end_change_nothing(name: str) -> None:
    """Phones append; the picture is the same."""
    encoded = EXAMPLES[name]()
    assert np.array_equal(own_size_of_example(encoded + b"more"), own_size_of_example(encoded))


def test_every_flipped_byte_of_a_png_is_noticed() -> None:
    """Checksums are checked, those of the pixels too."""
    encoded = encode(Image.fromarray(smooth(4, 5)), "PNG")
    for position in range(len(encoded)):
        flipped = bytearray(encoded)
        flipped[position] ^= 0x01
        with pytest.raises(InputError):
            decode(bytes(flipped), height=4, width=5)


PALETTE = chunk(b"PLTE", bytes(6))


@pytest.mark.parametrize(
    "encoded",
    [
        png(b"\0\1", bits=8, colour=0, size=(1, 2)),  # a row is missing
        png(b"\0\1", bits=1, colour=0, size=(8, 2)),
        png(b"\0" * 5, bits=8, colour=6, size=(1, 2)),
        png(b"\0\1", bits=8, colour=0, size=(1, 3), interlace=1),
        png(b"\0\0", bits=3, colour=0, size=(1, 1)),
        png(b"\0\0", bits=8, colour=5, size=(1, 1)),
        png(b"\0\2", bits=8, colour=3, size=(1, 1), chunks=PALETTE),  # entry 2 of 2
        png(b"\0\0", bits=8, colour=3, size=(1, 1)),
        png(b"\0\0", bits=8, colour=3, size=(1, 1), chunks=chunk(b"PLTE", b"\0\0")),
        png(b"\0\0", bits=8, colour=3, size=(1, 1), chunks=PALETTE + chunk(b"tRNS", bytes(3))),
        png(b"\0\0", bits=8, colour=0, size=(1, 1), chunks=chunk(b"tRNS", b"\0")),
        png(b"\0\0", bits=8, colour=0, size=(1, 1), chunks=chunk(b"tRNS", bytes(6))),
        png(b"\0" * 5, bits=8, colour=6, size=(1, 1), chunks=chunk(b"tRNS", bytes(8))),
        png(b"\0" * 3, bits=8, colour=4, size=(1, 1), chunks=chunk(b"tRNS", bytes(4))),
        png(b"\0\0", bits=8, colour=0, size=(1, 1), compression=1),
        png(b"\0\0", bits=8, colour=0, size=(1, 1), filtering=1),
        png(b"\0\0", bits=8, colour=0, size=(1, 1), interlace=2),
        png(b"\0\0", bits=8, colour=0, size=(1, 1), chunks=chunk(b"ABCD", b"")),  # critical and unknown
        png(b"\0\0", bits=8, colour=0, size=(1, 1), chunks=chunk(b"IHDR", bytes(13))),
        png(b"\7\0", bits=8, colour=0, size=(1, 1)),  # no such filter
        _png_header(1, 1) + chunk(b"IDAT", b"not zlib") + chunk(b"IEND", b""),
        _png_header(1, 1) + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b""),
    ],
)
def test_a_png_that_breaks_its_rules_is_corrupt(encoded: bytes) -> None:
    """Nothing is repaired."""
    with pytest.raises(CorruptImage):
        decode(encoded, height=8, width=8)


JPEG = EXAMPLES["jpeg"]()
FRAME_AT = JPEG.index(b"\xff\xc0")


@pytest.mark.parametrize(
    "encoded",
    [
        JPEG[:FRAME_AT] + b"junk" + JPEG[FRAME_AT:],
        JPEG[:2] + JPEG[FRAME_AT : FRAME_AT + 19] + JPEG[2:],  # two frames
        JPEG[:2] + jpeg_segment(0xDA, bytes(10)) + JPEG[2:],  # a scan before any frame
        JPEG[: FRAME_AT + 4] + b"\x0c" + JPEG[FRAME_AT + 5 :],  # 12 bits
        JPEG[: FRAME_AT + 9] + b"\x02" + JPEG[FRAME_AT + 10 :],  # two components
        JPEG[:2] + b"\xff\xe0\x00\x01" + JPEG[2:],  # a segment shorter than its own length
        b"\xff\xd8\xff\xd9",
    ],
)
def test_a_jpeg_that_breaks_its_rules_is_corrupt(encoded: bytes) -> None:
    """Nothing is skipped or guessed."""
    with pytest.raises(CorruptImage):
        decode(encoded, height=8, width=8)


def test_a_jpeg_may_pad_its_markers() -> None:
    """Fill bytes before a marker are legal."""
    assert np.array_equal(own_size(JPEG[:FRAME_AT] + b"\xff\xff" + JPEG[FRAME_AT:]), own_size(JPEG))


@pytest.mark.parametrize("seed", range(4))
@each_example
def test_damage_ends_in_pixels_or_in_our_errors(name: str, seed: int) -> None:
    """Whatever happens to the bytes, no foreign exception comes out."""
    generator = random.Random(f"{name}{seed}")
    encoded = EXAMPLES[name]()
    for _ in range(150):
        damaged = bytearray(encoded)
        for _ in range(generator.choice([1, 1, 2, 5, 40])):
            position = generator.randrange(3, len(damaged))
            match generator.randrange(3):
                case 0:
                    damaged[position] = generator.randrange(256)
                case 1:
                    del damaged[position : position + generator.randrange(1, 20)]
                case _:
                    damaged[position:position] = generator.randbytes(generator.randrange(1, 20))
        with contextlib.suppress(CorruptImage, UnsupportedFormat, TooManyPixels):
            assert decode(bytes(damaged), height=5, width=4, max_pixels=10_000).shape == (5, 4, 3)


@each_example
def test_errors_never_quote_a_decoder(name: str) -> None:
    """The sentence is ours; the decoder's complaint is only the cause, for the log."""
    encoded = EXAMPLES[name]()
    with pytest.raises(CorruptImage) as caught:
        decode(encoded[: len(encoded) * 2 // 3], height=8, width=8)
    assert str(caught.value) == "The image is truncated or damaged; save it again and send it whole."


# --- Files that are built to do harm ---


@pytest.mark.parametrize(
    ("kind", "head"),
    [(b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0en\0\0"), (b"iCCP", b"profile\0\0")],
)
def test_a_metadata_bomb_is_corrupt_and_costs_no_memory(kind: bytes, head: bytes) -> None:
    """Sixty-four megabytes that a chunk of sixty kilobytes would inflate to are never held."""
    plain = EXAMPLES["png"]()
    encoded = plain[:33] + chunk(kind, head + zlib.compress(bytes(64 * 2**20))) + plain[33:]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptImage):
            decode(encoded, height=8, width=8)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_many_small_metadata_bombs_are_one() -> None:
    """The budget is the file's, not the chunk's."""
    plain = EXAMPLES["png"]()
    bombs = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**20))) * 5
    with pytest.raises(CorruptImage):
        decode(plain[:33] + bombs + plain[33:], height=8, width=8)


def test_ordinary_metadata_is_no_bomb() -> None:
    """Text, compressed or not, and a colour profile pass, and change no pixel."""
    plain = EXAMPLES["png"]()
    metadata = (
        chunk(b"tEXt", b"Comment\0plain")
        + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"text" * 1000))
        + chunk(b"iTXt", b"Comment\0\0\0en\0\0plain")
        + chunk(b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(b"text" * 1000))
        + chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2**20)))
        + chunk(b"gAMA", struct.pack(">I", 45455))
        + chunk(b"prVt", b"private")
    )
    assert np.array_equal(own_size(plain[:33] + metadata + plain[33:]), own_size(plain))


def test_too_many_parts_are_corrupt() -> None:
    """Files of a hundred thousand empty parts are built to waste time."""
    plain = EXAMPLES["png"]()
    with pytest.raises(CorruptImage):
        decode(plain[:33] + chunk(b"tEXt", b"") * 100_000 + plain[33:], height=8, width=8)
    with pytest.raises(CorruptImage):
        decode(JPEG[:2] + jpeg_segment(0xFE, b"") * 100_000 + JPEG[2:], height=8, width=8)


def test_too_many_scans_are_corrupt() -> None:
    """Each scan of a progressive JPEG passes over the whole picture, however few bytes it has."""
    encoded = EXAMPLES["jpeg progressive"]()
    scan = encoded[encoded.rindex(b"\xff\xda") : -2]
    with pytest.raises(CorruptImage):
        decode(encoded[:-2] + scan * 100 + b"\xff\xd9", height=8, width=8)


# --- Process-wide state of Pillow and of Python ---


@each_example
def test_pillows_switches_decide_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its pixel limit nor its tolerance of truncation, whoever sets them."""
    encoded = EXAMPLES[name]()
    expected = decode(encoded, height=8, width=8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert np.array_equal(decode(encoded, height=8, width=8), expected)
    for length in range(12, len(encoded), 7):
        with pytest.raises(CorruptImage):
            decode(encoded[:length], height=8, width=8)


def test_damaged_pixels_are_refused_whatever_pillow_tolerates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PNG with sound checksums around a broken pixel stream is corrupt."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    stream = bytearray(zlib.compress(noise(HEIGHT, 1 + 3 * WIDTH).tobytes(), 9))
    stream[len(stream) // 2 :] = bytes(len(stream) - len(stream) // 2)
    encoded = _png_header(WIDTH, HEIGHT) + chunk(b"IDAT", bytes(stream)) + chunk(b"IEND", b"")
    with pytest.raises(CorruptImage):
        own_size_of_example(encoded)


def test_threads_do_not_disturb_each_other() -> None:
    """A pool that decodes sound and damaged images at once gives each its own answer."""

    def outcome(encoded: bytes) -> object:
        try:
            return decode(encoded, height=16, width=16).tobytes()
        except InputError as error:
            return type(error)

    sound = [make() for make in EXAMPLES.values()]
    bodies = [*sound, *(encoded[:-9] for encoded in sound), b"", b"GIF89a", _png_header(65_000, 65_000)] * 10
    expected = [outcome(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, bodies)) == expected
