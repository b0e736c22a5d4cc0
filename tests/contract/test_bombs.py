"""Small uploads that are built to cost: each is answered as told, within bounds, while others are served."""

import gzip
import io
import itertools
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.bundle import Bundle
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the memory of a process in /proc"),
]

RED = png((235, 20, 20))
MEGABYTE = 2**20
# What one picture of the limit of pixels may take, and the body itself a few times.
MAX_PIXELS = 4_000_000
MOST_GROWTH_BYTES = 150 * MEGABYTE
# Longer than any may take on a busy machine, and far shorter than a bomb that goes off: those take minutes.
DEADLINE_MS = 120_000


@pytest.fixture(scope="module")
def server(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {"bundle": tiny_bundle.path, "max_pixels": MAX_PIXELS, "deadline_ms": DEADLINE_MS, "decode_threads": 2}
    with running_server(tmp_path_factory.mktemp("server"), **settings) as server:
        server.wait_until_ready()
        yield server
    assert "Traceback" not in server.log.read_text()


@contextmanager
def served_beside(server: ServerProcess) -> Iterator[None]:
    """A client that asks as long as the block runs, and is answered each time; the memory does not grow meanwhile."""
    before = peak_bytes(server)
    is_over, statuses = threading.Event(), []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            while not is_over.is_set():
                statuses.append(client.post("/predict", content=RED).status_code)

    good = threading.Thread(target=ask)
    good.start()
    try:
        while not statuses and good.is_alive():
            time.sleep(0.005)
        yield
    finally:
        is_over.set()
        good.join()
    assert set(statuses) == {200}
    assert peak_bytes(server) - before < MOST_GROWTH_BYTES


def peak_bytes(server: ServerProcess) -> int:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, *, bits: int = 8, colour: int = 2, interlaced: bool = False) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))


def pixels(data: bytes) -> bytes:
    return chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_with(*chunks: bytes) -> bytes:
    return RED[:33] + b"".join(chunks) + RED[33:]


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def encoded(kind: str, size: tuple[int, int] = (64, 64), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (235, 20, 20)).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_with(*segments: bytes) -> bytes:
    picture = encoded("JPEG")
    return picture[:2] + b"".join(segments) + picture[2:]


def jpeg_frame(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"\xff\xd8" + segment(0xC0, frame) + segment(0xDA, bytes(10)) + b"\xff\xd9"


def exif(entries: int, data_bytes: int) -> bytes:
    """A block whose every tag has all of the block's bytes as its value."""
    tags = b"".join(struct.pack("<HHLL", tag, 1, data_bytes, 8) for tag in range(1, entries + 1))
    return (b"II*\0" + struct.pack("<LH", 8, entries) + tags + bytes(4)).ljust(data_bytes + 8, b"\0")


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def animated(kind: str, frames: int) -> bytes:
    """Frames that differ, since equal ones are written as one."""
    colors = itertools.cycle([(235, 20, 20), (20, 20, 235)])
    images = [Image.new("RGB", (8, 8), next(colors)) for _ in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:])
    return buffer.getvalue()


@cache
def bomb_of(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * MEGABYTE))


@cache
def gzip_of(megabytes: int) -> bytes:
    return gzip.compress(bytes(megabytes * MEGABYTE), 1)


SCANS = encoded("JPEG", progressive=True)
LAST_SCAN = SCANS[SCANS.rindex(b"\xff\xda") : -2]
WEBP = encoded("WEBP")
PICTURES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "PNG: pixels of 256 MB in 16 x 16": (lambda: header(16, 16) + pixels(bomb_of(256)), 200, ""),
    "PNG: 4 billion pixels a side": (lambda: header(2**31 - 1, 2**31 - 1) + pixels(b""), 413, "too_many_pixels"),
    "PNG: a line of a million": (lambda: header(1_000_000, 1) + pixels(bomb_of(3)), 413, "too_many_pixels"),
    "PNG: no pixel": (lambda: header(0, 0) + pixels(b""), 400, "corrupt_image"),
    "PNG: 16 bits, interlaced, at the limit": (
        lambda: header(2000, 2000, bits=16, colour=6, interlaced=True) + pixels(bomb_of(31)),
        200,
        "",
    ),
    "PNG: a profile of 256 MB": (lambda: png_with(chunk(b"iCCP", b"p\0\0" + bomb_of(256))), 400, "corrupt_image"),
    "PNG: a text of 256 MB": (lambda: png_with(chunk(b"zTXt", b"t\0\0" + bomb_of(256))), 400, "corrupt_image"),
    "PNG: a text of 256 MB in UTF-8": (
        lambda: png_with(chunk(b"iTXt", b"t\0\1\0\0\0" + bomb_of(256))),
        400,
        "corrupt_image",
    ),
    "PNG: texts of a megabyte": (
        lambda: png_with(*[chunk(b"zTXt", b"t\0\0" + bomb_of(1))] * 500),
        400,
        "corrupt_image",
    ),
    "PNG: 8 MB of plain text": (lambda: png_with(chunk(b"tEXt", b"t\0" + b"x" * 8 * MEGABYTE)), 200, ""),
    "PNG: half a million chunks": (lambda: png_with(chunk(b"prVt", b"") * 500_000), 400, "corrupt_image"),
    "PNG: EXIF that shares its bytes": (lambda: png_with(chunk(b"eXIf", exif(4000, MEGABYTE))), 400, "corrupt_image"),
    "PNG: a thousand frames": (lambda: animated("PNG", 1000), 200, ""),
    "PNG: 2 billion frames": (lambda: png_with(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), 200, ""),
    "JPEG: 65,535 pixels a side": (lambda: jpeg_frame(65_535, 65_535), 413, "too_many_pixels"),
    "JPEG: no pixel": (lambda: jpeg_frame(0, 0), 400, "corrupt_image"),
    "JPEG: a thousand scans": (lambda: SCANS[:-2] + LAST_SCAN * 1000 + b"\xff\xd9", 400, "corrupt_image"),
    "JPEG: 60 scans at the limit": (
        lambda: (
            (whole := encoded("JPEG", (2000, 2000), progressive=True))[:-2]
            + whole[whole.rindex(b"\xff\xda") : -2] * 50
            + b"\xff\xd9"
        ),
        200,
        "",
    ),
    "JPEG: a profile of 9 MB": (
        lambda: jpeg_with(*(segment(0xE2, b"ICC_PROFILE\0" + bytes([i, 140]) + bytes(65_000)) for i in range(1, 141))),
        200,
        "",
    ),
    "JPEG: 100,000 segments": (lambda: jpeg_with(segment(0xFE, b"") * 100_000), 400, "corrupt_image"),
    "JPEG: EXIF that shares its bytes": (
        lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + exif(4000, 60_000))),
        400,
        "corrupt_image",
    ),
    "JPEG: a restart at every block": (lambda: encoded("JPEG", (1500, 1500), restart_marker_blocks=1), 200, ""),
    "JPEG: padding": (lambda: jpeg_with(b"\xff" * 5 * MEGABYTE), 400, "corrupt_image"),
    "WebP: a canvas of 2^24 pixels a side": (lambda: webp(canvas(2**24, 2**24)), 413, "too_many_pixels"),
    "WebP: 16,383 pixels a side, lossless": (
        lambda: webp((b"VP8L", b"\x2f" + struct.pack("<I", 16_382 | 16_382 << 14) + bytes(20))),
        413,
        "too_many_pixels",
    ),
    "WebP: a canvas larger than its picture": (
        lambda: webp(canvas(1900, 2000), (WEBP[12:16], WEBP[20:])),
        400,
        "corrupt_image",
    ),
    "WebP: a canvas smaller than its picture": (
        lambda: webp(canvas(1, 1), (WEBP[12:16], WEBP[20:])),
        400,
        "corrupt_image",
    ),
    "WebP: a thousand frames": (lambda: animated("WEBP", 1000), 200, ""),
    "WebP: half a million chunks": (
        lambda: webp(canvas(64, 64), *[(b"junk", b"")] * 500_000, (WEBP[12:16], WEBP[20:])),
        200,
        "",
    ),
    "WebP: a size of 4 GB": (lambda: WEBP[:4] + b"\xff\xff\xff\xff" + WEBP[8:], 400, "corrupt_image"),
}


@pytest.mark.parametrize(("make", "status", "code"), PICTURES.values(), ids=PICTURES.keys())
def test_a_picture_built_to_cost(server: ServerProcess, make: Callable[[], bytes], status: int, code: str) -> None:
    """Refused with its code, or judged where all that is dear in it is never looked at."""
    content = make()
    with served_beside(server):
        response = httpx.post(f"{server.url}/predict", content=content, timeout=120)
    assert (response.status_code, response.json().get("code", "")) == (status, code)


PART = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--edge--\r\n"
FORMS = {
    "a hundred thousand parts": ((PART + b"x\r\n") * 100_000 + END, 413, "body_too_large"),
    "ten thousand empty parts": (b"--edge\r\n\r\n\r\n" * 10_000 + END, 413, "body_too_large"),
    "a name of 5 MB": (
        b'--edge\r\nContent-Disposition: form-data; name="' + b"x" * 5 * MEGABYTE,
        400,
        "malformed_body",
    ),
    "a header of 5 MB": (b"--edge\r\nA: " + b"x" * 5 * MEGABYTE, 400, "malformed_body"),
    "a million headers": (b"--edge\r\n" + b"A: b\r\n" * 1_000_000 + b"\r\nx" + END, 400, "malformed_body"),
    "a form in a form": (
        PART + PART.replace(b"edge", b"inner") + RED + b"\r\n--inner--" + END,
        415,
        "unsupported_format",
    ),
    "no end": (PART + b"x" * 5 * MEGABYTE, 400, "malformed_body"),
    "lines like a boundary": (PART + b"\r\n--edge-" * MEGABYTE + END, 413, "body_too_large"),
    "lines almost like a boundary": (PART + b"\r\n--edg" * MEGABYTE + END, 415, "unsupported_format"),
    "nothing but line ends": (PART + b"\r\n" * 4 * MEGABYTE + END, 415, "unsupported_format"),
    "a preamble of line ends": (b"\r\n" * 4 * MEGABYTE + PART + RED + END, 200, ""),
}


@pytest.mark.parametrize(("body", "status", "code"), FORMS.values(), ids=FORMS.keys())
def test_a_form_built_to_cost(server: ServerProcess, body: bytes, status: int, code: str) -> None:
    """Many parts, long heads, and what looks like a boundary all the way."""
    with served_beside(server):
        response = httpx.post(
            f"{server.url}/predict",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=edge"},
            timeout=120,
        )
    assert (response.status_code, response.json().get("code", "")) == (status, code)


TENSOR = {"name": "images", "datatype": "BYTES", "shape": [1]}
MILLION = 1_000_000


def infer(**changes: Any) -> bytes:
    return json.dumps({"inputs": [TENSOR | changes]}).encode()


def many(item: bytes, count: int = MILLION) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


JSONS = {
    "a hundred thousand lists in lists": (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "a thousand lists in lists": (b'{"inputs": ' + b"[" * 1000 + b"]" * 1000 + b"}", 400),
    "data in lists in lists": (b'{"inputs": [{"data": ' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"}]}", 400),
    "a million inputs": (b'{"inputs": ' + many(b"0") + b"}", 422),
    "half a million empty inputs": (b'{"inputs": ' + many(b"{}", MILLION // 2) + b"}", 413),
    "a million outputs": (infer()[:-1] + b', "outputs": ' + many(b"0") + b"}", 422),
    "a million negative sizes": (infer(shape=[-1] * MILLION), 422),
    "a size of five million digits": (infer(shape=[0]).replace(b"[0]", b"[" + b"9" * 5 * MILLION + b"]"), 400),
    "an exponent of five million digits": (infer(data=[0]).replace(b"[0]", b"[1e" + b"9" * 5 * MILLION + b"]"), 400),
    "a size beyond 64 bits": (infer(shape=[2**64]), 422),
    "2^62 pictures": (infer(shape=[2**62]), 413),
    "a million empty pictures": (infer(data=[""] * (MILLION - 50)), 422),
    "a million numbers for 192": (infer(datatype="UINT8", shape=[1, 8, 8, 3], data=[1] * (MILLION - 50)), 422),
    "half a million parameters": (infer(parameters={str(i): 0 for i in range(MILLION // 2)}), 413),
    "half a million unknown fields": (json.dumps({str(i): 0 for i in range(MILLION // 2)}).encode(), 413),
    "a binary size beyond 64 bits": (infer(parameters={"binary_data_size": 2**70}), 400),
    "a negative binary size": (infer(parameters={"binary_data_size": -1}), 400),
    "a binary size that is no size": (infer(parameters={"binary_data_size": 1e300}), 400),
    "NaN and Infinity": (infer(data=[float("nan"), float("inf")], shape=[2]), 400),
}


@pytest.mark.parametrize(("body", "status"), JSONS.values(), ids=JSONS.keys())
def test_json_built_to_cost(server: ServerProcess, body: bytes, status: int) -> None:
    """Depth, numbers and lists without end: one sentence, and no value of the caller's in it."""
    with served_beside(server):
        response = httpx.post(f"{server.url}/v2/models/tiny/infer", content=body, timeout=120)
    assert response.status_code == status
    assert len(response.json()["error"]) < 400


BINARIES = {
    "ten million bytes of empty elements": (bytes(10_000_000), None, 422),
    "an element of 4 GB": (b"\xff\xff\xff\xff" + bytes(100), None, 400),
    "a header size beyond the body": (b"", "99999999", 400),
    "a negative header size": (b"", "-1", 400),
    "a header size of a thousand digits": (b"", "9" * 1000, 400),
}


@pytest.mark.parametrize(("binary", "size", "status"), BINARIES.values(), ids=BINARIES.keys())
def test_binary_tensors_built_to_cost(server: ServerProcess, binary: bytes, size: str | None, status: int) -> None:
    """Sizes that disagree with what is there."""
    head = infer(parameters={"binary_data_size": len(binary)})
    headers = {"Inference-Header-Content-Length": size or str(len(head))}
    with served_beside(server):
        response = httpx.post(f"{server.url}/v2/models/tiny/infer", content=head + binary, headers=headers, timeout=120)
    assert response.status_code == status


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/v2/models/tiny/infer"])
@pytest.mark.parametrize("coding", ["gzip", "gzip, br"])
def test_a_compressed_body_is_refused_and_not_unpacked(server: ServerProcess, path: str, coding: str) -> None:
    """A quarter of a gigabyte in a megabyte; the sentence says what to do."""
    body = gzip_of(256)
    with served_beside(server):
        response = httpx.post(f"{server.url}{path}", content=body, headers={"Content-Encoding": coding}, timeout=120)
    assert response.status_code == 415
    assert "uncompressed" in response.text
