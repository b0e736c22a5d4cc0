"""Encoded bytes to pixels: every rule, every refusal."""

import contextlib
import hashlib
import io
import math
import random
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from service.errors import CorruptImage, EmptyBody, InputError, TooManyPixels, UnsupportedFormat
from service.preprocess import ALLOWED_FORMATS, JpegScale, decode, load, squash

HEIGHT, WIDTH = 20, 30
JPEG_SCALES: tuple[JpegScale, JpegScale] = ("full", "reduced")
Pixels = NDArray[np.uint8]


def noise(*shape: int, limit: int = 256) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, limit, shape, np.uint16)


def smooth() -> Image.Image:
    """Return a picture without symmetry that survives lossy codecs."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    return Image.fromarray(np.stack([200 * x, 150 * y + 50, 255 * x * y], axis=2).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: NDArray[Any], *, bits: int, colour: int, chunks: bytes = b"") -> bytes:
    """Return a PNG of *samples*, (H, W) or (H, W, channels), of *bits* each; *chunks* stand before the pixels."""
    height, width = samples.shape[:2]
    planes = np.unpackbits(samples.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
    rows = np.packbits(planes.reshape(height, -1), axis=1)
    pixels = chunk(b"IDAT", zlib.compress(np.insert(rows, 0, 0, axis=1).tobytes())) + chunk(b"IEND", b"")
    return png_header(width, height, bits, colour) + chunks + pixels


def png_header(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def jpeg_header(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"\xff\xd8" + segment(0xC0, frame) + segment(0xDA, bytes(10))


def webp_header(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def exif(orientation: int, *others: tuple[int, int, int, int]) -> bytes:
    """Return an EXIF block of the orientation and of *others*: (tag, type, count, value)."""
    entries = sorted([(0x0112, 3, 1, orientation), *others])
    directory = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(entries)) + directory + bytes(4)


def jpeg_with(segments: bytes) -> bytes:
    return JPEG[:2] + segments + JPEG[2:]


def png_with(chunks: bytes) -> bytes:
    return PNG[:33] + chunks + PNG[33:]


def upright(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded)) as image:
        return ImageOps.exif_transpose(image)


def by_pillow(encoded: bytes) -> Pixels:
    """Return what Pillow makes of an ordinary picture."""
    return np.asarray(upright(encoded).convert("RGB"))


def own_size(encoded: bytes) -> Pixels:
    """Decode without resizing."""
    width, height = upright(encoded).size
    return decode(encoded, height=height, width=width)


def over_white(rgba: NDArray[Any]) -> NDArray[Any]:
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:].astype(float)
    return np.rint((colour * alpha + 255 * (255 - alpha)) / 255)


JPEG, PNG = encode(smooth(), "JPEG"), encode(smooth(), "PNG")
RGBA = Image.fromarray(noise(HEIGHT, WIDTH, 4).astype(np.uint8))
PROGRESSIVE = encode(smooth(), "JPEG", progressive=True)
EXAMPLES = {  # name: the bytes, a hash of the pixels
    "jpeg": (JPEG, "acca3c557bf8"),
    "jpeg progressive": (PROGRESSIVE, "acca3c557bf8"),
    "jpeg grey": (encode(smooth().convert("L"), "JPEG"), "fc1ec1bb1468"),
    "jpeg cmyk": (encode(smooth().convert("CMYK"), "JPEG"), "a8990bdea9d2"),
    "jpeg turned": (jpeg_with(segment(0xE1, exif(6))), "2f0658004d9a"),
    "png": (PNG, "9eb43533616a"),
    "png palette": (encode(smooth().quantize(16), "PNG"), "8cc522c81bb4"),
    "png 16 bit": (png(noise(HEIGHT, WIDTH, limit=65536), bits=16, colour=0), "a9894effe500"),
    "png one bit": (encode(RGBA.convert("1"), "PNG"), "6aef9d897821"),
    "png alpha": (encode(RGBA, "PNG"), "705671fa241b"),
    "webp": (encode(smooth(), "WEBP"), "cf15ac0e97c7"),
    "webp lossless": (encode(smooth(), "WEBP", lossless=True), "9eb43533616a"),
    "webp alpha": (encode(RGBA, "WEBP", lossless=True, exact=True), "705671fa241b"),
}
each_example = pytest.mark.parametrize("encoded", [encoded for encoded, _ in EXAMPLES.values()], ids=EXAMPLES.keys())


# --- The rules ---


@pytest.mark.parametrize(("encoded", "digest"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_rules_do_not_change(encoded: bytes, digest: str) -> None:
    """Other pixels are other scores: they need a new `InputSpec.rules`, and calibrations made anew."""
    assert hashlib.sha256(decode(encoded, height=13, width=17).tobytes()).hexdigest()[:12] == digest


@pytest.mark.parametrize(("height", "width"), [(8, 9), (224, 224), (5, 300), (HEIGHT, WIDTH), (WIDTH, HEIGHT)])
@each_example
def test_resize_squashes_the_colours_with_antialiased_bilinear(encoded: bytes, height: int, width: int) -> None:
    """No crop, no padding, and every mode is resized as the colours that it stands for."""
    expected = Image.fromarray(own_size(encoded)).resize((width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(decode(encoded, height=height, width=width), np.asarray(expected))


def test_photos_are_what_pillow_makes_of_them(photos: list[bytes]) -> None:
    """No rule of ours changes a pixel of an ordinary photo."""
    for encoded in photos:
        expected = Image.fromarray(by_pillow(encoded)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(decode(encoded, height=32, width=32), np.asarray(expected))


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (2, 3)])
def test_tiny_and_narrow_images_decode(size: tuple[int, int]) -> None:
    """Every size within the limits is an image."""
    encoded = encode(Image.new("RGB", size, (1, 2, 3)), "PNG")
    assert np.array_equal(decode(encoded, height=8, width=8), np.full((8, 8, 3), (1, 2, 3)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ALLOWED_FORMATS)
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    """A picture taken sideways is judged upright, in every format; the target size is of the upright picture."""
    encoded = encode(smooth(), kind, exif=exif(orientation), lossless=True)
    assert np.array_equal(own_size(encoded), by_pillow(encoded))


def test_orientation_may_follow_the_pixels() -> None:
    """A PNG's eXIf chunk is honoured wherever it stands."""
    encoded = PNG[:-12] + chunk(b"eXIf", exif(3)[6:]) + PNG[-12:]
    assert np.array_equal(own_size(encoded), own_size(PNG)[::-1, ::-1])


def test_other_tags_may_be_odd() -> None:
    """A camera that writes its name as a fraction still has its pictures turned."""
    encoded = jpeg_with(segment(0xE1, exif(3, (0x010F, 5, 1, 0))))
    assert np.array_equal(decode(encoded, height=HEIGHT, width=WIDTH), own_size(JPEG)[::-1, ::-1])


@pytest.mark.parametrize("block", [b"Exif\0\0", exif(0), exif(9), exif(65535)])
def test_an_orientation_that_means_nothing_is_upright(block: bytes) -> None:
    """Zero is written by real cameras for `unknown`, and some writers leave the prefix alone behind."""
    assert np.array_equal(own_size(jpeg_with(segment(0xE1, block))), own_size(JPEG))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("colour", "channels"), [(2, [0, 1, 2]), (4, [0, 0, 0, 1]), (6, [0, 1, 2, 3])])
def test_alpha_is_laid_over_white_and_deep_colour_keeps_its_high_byte(
    bits: int, colour: int, channels: list[int]
) -> None:
    """Grey or colour, with alpha or without, properly rounded."""
    samples = noise(64, 64, max(channels) + 1, limit=2**bits)
    pixels = (samples >> bits - 8)[..., channels]
    decoded = own_size(png(samples, bits=bits, colour=colour))
    assert np.array_equal(decoded, over_white(pixels) if len(channels) == 4 else pixels)


@pytest.mark.parametrize("alpha", [[0, 100, 255, 7], [255, 0]])
def test_palette_alpha_is_laid_over_white(alpha: list[int]) -> None:
    """tRNS gives the first entries of a palette their alpha; the rest are opaque."""
    palette, indices = noise(8, 3), noise(16, 16, limit=8)
    chunks = chunk(b"PLTE", palette.astype(np.uint8).tobytes()) + chunk(b"tRNS", bytes(alpha))
    rgba = np.c_[palette, alpha + [255] * (8 - len(alpha))]
    decoded = own_size(png(indices, bits=8, colour=3, chunks=chunks))
    assert np.allclose(decoded, over_white(rgba)[indices], rtol=0, atol=1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_is_scaled_and_one_of_it_transparent(bits: int) -> None:
    """To 8 bits, rounded, every value; tRNS counts in the samples of the file, and its neighbours stay."""
    grey = np.arange(2**bits).reshape(2 ** (bits // 2), -1)
    shades = np.rint(grey * 255 / (2**bits - 1))
    assert np.array_equal(own_size(png(grey, bits=bits, colour=0))[..., 2], shades)
    encoded = png(grey, bits=bits, colour=0, chunks=chunk(b"tRNS", b"\0\1"))
    assert np.array_equal(own_size(encoded)[..., 1], np.where(grey == 1, 255, shades))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_becomes_white(bits: int) -> None:
    """All three channels must match."""
    samples = np.array([[[1, 2, 3], [1, 2, 4], [0, 0, 0]]]) << bits - 8
    encoded = png(samples, bits=bits, colour=2, chunks=chunk(b"tRNS", samples[0, 0].astype(">u2").tobytes()))
    assert own_size(encoded).tolist() == [[[255, 255, 255], [1, 2, 4], [0, 0, 0]]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "MPO"])
def test_the_first_picture_counts(kind: str) -> None:
    """An animation is its first frame, and what phones write as a multi-picture JPEG its primary."""
    encoded = encode(smooth(), kind, save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))], lossless=True)
    with Image.open(io.BytesIO(encoded)) as image:
        assert getattr(image, "n_frames", 1) == 2
    assert np.array_equal(own_size(encoded), own_size(JPEG if kind == "MPO" else PNG))


# --- JPEGs at a reduced scale ---


def rough(width: int, height: int) -> Image.Image:
    """Return a picture with detail of every size, in which what a scale leaves out is seen."""
    picture = Image.fromarray(noise(height, width, 3).astype(np.uint8))
    return Image.blend(picture, smooth().resize((width, height)), 0.6)


def by_libjpeg(encoded: bytes, scale: int, *, height: int, width: int) -> Pixels:
    """Return what libjpeg and Pillow make of a JPEG that is divided by *scale* and then resized, not turned."""
    with Image.open(io.BytesIO(encoded)) as image:
        extent = (image.width / scale, image.height / scale)
        image.draft(None, (image.width // scale, image.height // scale))
        assert image.size == (math.ceil(extent[0]), math.ceil(extent[1]))
        image.load()
        picture: Image.Image = image.convert("RGB") if image.mode == "CMYK" else image
        small = picture.resize((width, height), Image.Resampling.BILINEAR, box=(0, 0, *extent))
        return np.asarray(small.convert("RGB"))


ROUGH = rough(333, 217)
LARGE_JPEGS = {  # name: the bytes, a hash of the pixels
    "jpeg": (encode(ROUGH, "JPEG"), "cdceb5dd42cc"),
    "progressive": (encode(ROUGH, "JPEG", progressive=True), "cdceb5dd42cc"),
    "without subsampling": (encode(ROUGH, "JPEG", subsampling=0), "64b330646ed9"),
    "grey": (encode(ROUGH.convert("L"), "JPEG"), "910ec1caa45d"),
    "cmyk": (encode(ROUGH.convert("CMYK"), "JPEG"), "ca32c6499122"),
    "multi-picture": (encode(ROUGH, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]), "cdceb5dd42cc"),
    "turned": (encode(ROUGH, "JPEG", exif=exif(6)), "39b8c361f789"),
}
each_large_jpeg = pytest.mark.parametrize(("encoded", "digest"), LARGE_JPEGS.values(), ids=LARGE_JPEGS.keys())


@each_large_jpeg
def test_the_rules_of_reduced_jpegs_do_not_change(encoded: bytes, digest: str) -> None:
    """Nor does what libjpeg makes of them."""
    pixels = decode(encoded, height=13, width=17, jpeg_scale="reduced")
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:12] == digest


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((80, 48), 2),
        ((79, 48), 1),
        ((80, 47), 1),
        ((160, 96), 4),
        ((159, 191), 2),
        ((320, 192), 8),
        ((999, 191), 4),
        ((321, 999), 8),
        ((1600, 960), 8),
    ],
)
@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK"])
def test_both_sides_stay_twice_the_inputs(size: tuple[int, int], scale: int, kind: str) -> None:
    """The smallest of 1/8, 1/4, 1/2 and 1 that leaves them so; an input of 20 x 12 needs 40 x 24."""
    encoded = encode(rough(*size).convert(kind), "JPEG")
    expected = by_libjpeg(encoded, scale, height=12, width=20)
    assert np.array_equal(decode(encoded, height=12, width=20, jpeg_scale="reduced"), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_sides_are_those_of_the_upright_picture(orientation: int) -> None:
    """One taken sideways is measured as it will be seen: 160 x 90 pixels for an input of 11 x 20, not 90 x 160."""
    encoded = encode(rough(90, 160), "JPEG", exif=exif(orientation))
    scale, height, width = (2, 11, 20) if orientation >= 5 else (4, 20, 11)
    stored = by_libjpeg(encoded, scale, height=height, width=width)
    expected = by_pillow(encode(Image.fromarray(stored), "PNG", exif=exif(orientation)))
    assert np.array_equal(decode(encoded, height=20, width=11, jpeg_scale="reduced"), expected)


@each_example
def test_what_is_no_large_jpeg_is_decoded_in_full(encoded: bytes) -> None:
    """Pictures near the input's size, JPEGs too, have the same pixels either way."""
    full, reduced = (decode(encoded, height=13, width=17, jpeg_scale=scale) for scale in JPEG_SCALES)
    assert np.array_equal(full, reduced)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_are_never_reduced(kind: str) -> None:
    """However large."""
    encoded = encode(ROUGH, kind)
    full, reduced = (decode(encoded, height=13, width=17, jpeg_scale=scale) for scale in JPEG_SCALES)
    assert np.array_equal(full, reduced)


def test_a_reduced_photo_is_nearly_the_whole_one(photos: list[bytes]) -> None:
    """By half a level of 255 on average; the whole last row and column would make that 1.2."""
    full, reduced = (
        np.stack([decode(encoded, height=32, width=32, jpeg_scale=scale) for encoded in photos]).astype(int)
        for scale in JPEG_SCALES
    )
    assert 0 < np.abs(full - reduced).mean() < 0.5


# --- What is refused ---


def test_an_empty_body_is_told_apart() -> None:
    """Nothing at all is not a corrupt image."""
    with pytest.raises(EmptyBody):
        decode(b"", height=8, width=8)


OTHER_FORMATS = ("GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PDF", "JPEG2000", "AVIF", "EPS")


@pytest.mark.parametrize(
    "encoded",
    [b"\0", b"<svg/>", b"hello", b"RIFF\0\0\0\0WAVE", *(encode(smooth(), kind) for kind in OTHER_FORMATS)],
    ids=("nul", "svg", "text", "sound", *OTHER_FORMATS),
)
def test_other_formats_are_unsupported(encoded: bytes) -> None:
    """Formats are told by their bytes; what Pillow could open besides is refused all the same."""
    with pytest.raises(UnsupportedFormat):
        decode(encoded, height=8, width=8)


@each_example
def test_the_pixel_limit_is_inclusive(encoded: bytes) -> None:
    """As many pixels as allowed pass, one more does not."""
    assert decode(encoded, height=7, width=11, max_pixels=HEIGHT * WIDTH).shape == (7, 11, 3)
    with pytest.raises(TooManyPixels, match=f"{WIDTH} x {HEIGHT}"):
        decode(encoded, height=7, width=11, max_pixels=HEIGHT * WIDTH - 1)


def test_the_pixel_limit_is_of_the_whole_picture() -> None:
    """What a JPEG is reduced to does not count."""
    encoded = encode(ROUGH, "JPEG")
    assert decode(encoded, height=7, width=11, jpeg_scale="reduced", max_pixels=333 * 217).shape == (7, 11, 3)
    with pytest.raises(TooManyPixels, match="333 x 217"):
        decode(encoded, height=7, width=11, jpeg_scale="reduced", max_pixels=333 * 217 - 1)


@pytest.mark.parametrize("size", [(65_000, 65_000), (50_000, 1_001), (65_536, 1), (1, 65_536)])
def test_the_size_is_seen_in_the_header(size: tuple[int, int]) -> None:
    """A bomb, or a line too long to resize, is refused before a single row: here there are none to decode."""
    bombs = [png_header(*size) + chunk(b"IDAT", b""), webp_header(*size)]
    for bomb in [*bombs, jpeg_header(*size)] if max(size) < 65_536 else bombs:
        with pytest.raises(TooManyPixels):
            decode(bomb, height=8, width=8)


@pytest.mark.parametrize("block", [b"II", b"garbage!", b"II*\0\xff\xff\xff\xff", exif(1)[6:-1], exif(1)[6:-9]])
def test_exif_that_cannot_be_read_is_corrupt(block: bytes) -> None:
    """Nobody knows which way up such a picture is."""
    for encoded in (jpeg_with(segment(0xE1, b"Exif\0\0" + block)), png_with(chunk(b"eXIf", block))):
        with pytest.raises(CorruptImage):
            decode(encoded, height=8, width=8)


@pytest.mark.parametrize("jpeg_scale", JPEG_SCALES)
@each_example
def test_a_truncated_image_is_corrupt_wherever_it_ends(encoded: bytes, jpeg_scale: JpegScale) -> None:
    """No image comes out of a part of a file, and the sentence quotes no decoder; only end marks may be missing."""
    ours = "^The image is truncated or damaged; save it again and send it whole[.]$"
    for length in range(12, len(encoded) - 4):
        with pytest.raises(CorruptImage, match=ours):
            decode(encoded[:length], height=4, width=4, jpeg_scale=jpeg_scale)


@each_example
def test_bytes_behind_the_end_change_nothing(encoded: bytes) -> None:
    """Phones append; the picture is the same."""
    assert np.array_equal(own_size(encoded + b"more"), own_size(encoded))


def test_every_flipped_byte_of_a_png_is_noticed() -> None:
    """Checksums are checked, those of the pixels too; that of the end mark, which is nothing, is not."""
    for position in range(len(PNG) - 12):
        with pytest.raises(InputError):
            decode(PNG[:position] + bytes([PNG[position] ^ 1]) + PNG[position + 1 :], height=8, width=8)


@pytest.mark.parametrize("jpeg_scale", JPEG_SCALES)
@each_example
def test_damage_ends_in_pixels_or_in_our_errors(encoded: bytes, jpeg_scale: JpegScale) -> None:
    """Whatever happens to the bytes, no foreign exception comes out."""
    generator = random.Random(0)
    for _ in range(400):
        damaged = bytearray(encoded)
        for _ in range(generator.choice([1, 1, 2, 5, 40])):
            position = generator.randrange(3, len(damaged))
            removed, added = generator.choice([(1, 1), (1, 1), (generator.randrange(20), generator.randrange(20))])
            damaged[position : position + removed] = generator.randbytes(added)
        with contextlib.suppress(CorruptImage, UnsupportedFormat, TooManyPixels):
            pixels = decode(bytes(damaged), height=5, width=4, jpeg_scale=jpeg_scale, max_pixels=10_000)
            assert pixels.shape == (5, 4, 3)


SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
MEGABYTE = zlib.compress(bytes(2**20 - 1))
BOMBS = {
    "a text of 64 MB": png_with(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**26)))),
    "a profile of 64 MB": png_with(chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2**26)))),
    "profiles": png_with(chunk(b"iCCP", b"profile\0\0" + MEGABYTE) * 65),
    "damaged texts": png_with(chunk(b"zTXt", b"Comment\0\0" + MEGABYTE[:-4] + b"oops") * 65),
    "chunks": png_with(chunk(b"prVt", b"") * 33_000),
    "segments": jpeg_with(segment(0xFE, b"") * 2_000),
    "padding": jpeg_with(b"\xff" * 5_000),
    "scans": PROGRESSIVE[:-2] + SCAN * 65 + b"\xff\xd9",
}


@pytest.mark.parametrize("jpeg_scale", JPEG_SCALES)
@pytest.mark.parametrize("encoded", BOMBS.values(), ids=BOMBS.keys())
def test_a_file_built_to_cost_is_corrupt(encoded: bytes, jpeg_scale: JpegScale) -> None:
    """Parts that inflate too far, or are too many, are refused."""
    with pytest.raises(CorruptImage):
        decode(encoded, height=4, width=4, jpeg_scale=jpeg_scale)


def test_ordinary_metadata_is_no_bomb() -> None:
    """Text, compressed or not, a colour profile and private chunks pass, and change no pixel."""
    text = chunk(b"tEXt", b"Comment\0plain") + chunk(b"zTXt", b"Comment\0\0" + MEGABYTE) * 20
    metadata = text + chunk(b"iCCP", b"profile\0\0" + MEGABYTE) + chunk(b"prVt", b"private")
    assert np.array_equal(own_size(png_with(metadata)), own_size(PNG))


# --- Process-wide state ---

DOUBTFUL = {
    "TiffImagePlugin": jpeg_with(segment(0xE1, exif(1)[:-1])),
    "JpegImagePlugin": jpeg_with(segment(0xE2, b"MPF\0" + exif(1)[6:])),
    "PngImagePlugin": png_with(chunk(b"acTL", bytes(8))),
}
CAUSES = """
import sys
from pathlib import Path
from service.errors import CorruptImage
from service.preprocess import decode
for path in sys.argv[1:]:
    try:
        decode(Path(path).read_bytes(), height=8, width=8)
    except CorruptImage as error:
        print(type(error.__cause__).__name__)
"""


def test_whatever_pillow_warns_about_is_corrupt(tmp_path: Path) -> None:
    """Importing the module is enough, even in a process that was told to ignore warnings."""
    for name, encoded in DOUBTFUL.items():
        (tmp_path / name).write_bytes(encoded)
        with pytest.warns(UserWarning, match=".") as raised, Image.open(tmp_path / name) as image:
            image.getexif()
        assert Path(raised[0].filename).stem == name
    fresh = [sys.executable, "-W", "ignore", "-c", CAUSES, *(str(tmp_path / name) for name in DOUBTFUL)]
    output = subprocess.run(fresh, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["UserWarning"] * len(DOUBTFUL)


def test_threads_do_not_disturb_each_other() -> None:
    """A pool that decodes sound and damaged images at once gives each its own answer."""

    def outcome(encoded: bytes) -> object:
        try:
            return decode(encoded, height=16, width=16).tobytes()
        except InputError as error:
            return type(error)

    sound = [*(encoded for encoded, _ in EXAMPLES.values()), *DOUBTFUL.values()]
    bodies = [*sound, *(encoded[:-20] for encoded in sound), b"", b"GIF89a", webp_header(65_000, 65_000)] * 10
    expected = [outcome(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, bodies)) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("lost", [1, 2, 12, 20])
def test_a_file_that_lost_its_last_bytes_is_corrupt(kind: str, lost: int) -> None:
    """Also where every row is there: the upload was cut."""
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 60).save(buffer, kind)
    assert decode(buffer.getvalue(), height=8, width=8).shape == (8, 8, 3)
    with pytest.raises(CorruptImage):
        decode(buffer.getvalue()[:-lost], height=8, width=8)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_loaded_picture_is_what_decode_squashes(mode: str) -> None:
    """`load` keeps the size and turns the picture upright; saved without loss, it decodes to the same pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(smooth().convert(mode), "PNG", exif=exif)
    loaded = load(encoded)
    assert loaded.size == (HEIGHT, WIDTH)
    pixels = decode(encoded, height=7, width=11)
    assert np.array_equal(squash(loaded, height=7, width=11), pixels)
    assert np.array_equal(decode(encode(loaded, "PNG"), height=7, width=11), pixels)


def test_want_of_memory_says_nothing_about_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays what it is, so that nobody throws a good picture away."""
    loaded = load(encode(smooth(), "PNG"))

    def failing(*_: Any) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", failing)
    with pytest.raises(MemoryError):
        squash(loaded, height=7, width=11)


@pytest.mark.parametrize(("code", "error"), [(-9, MemoryError), (-2, CorruptImage)])
def test_a_codecs_want_of_memory_is_no_corrupt_image(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    """Pillow raises OSError for both; only one of them is the image's fault."""

    def failing(*_: Any) -> None:
        raise ImageFile._get_oserror(code, encoder=False)

    monkeypatch.setattr(ImageFile.ImageFile, "load", failing)
    with pytest.raises(error):
        load(encode(smooth(), "JPEG"))
