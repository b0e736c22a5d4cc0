"""Sound inputs to begin with: made pictures, forms, tensors and requests, which no mutation would find by itself."""

import base64
import io
import json
import struct
import zlib

import numpy as np
from PIL import Image

from tests.fuzz.targets import SIDE_PIXELS


def seeds(target: str) -> list[bytes]:
    """The first inputs of *target*."""
    return {"decoder": _pictures, "form": _forms, "tensors": _tensors, "http": _requests}[target]()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pictures() -> list[bytes]:
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (9, 13, 4), np.uint8), "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    found = [encoded(noise.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    found += [encoded(noise.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")]
    found += [encoded(noise.convert("RGB"), "JPEG", progressive=True, exif=exif)]
    found += [encoded(noise.convert("RGB"), "JPEG", restart_marker_blocks=1)]
    found += [encoded(noise, "WEBP", lossless=lossless, exif=exif) for lossless in (True, False)]
    frames = [noise.rotate(90 * turn) for turn in range(3)]
    found += [encoded(noise, kind, save_all=True, append_images=frames) for kind in ("PNG", "WEBP")]
    png = encoded(noise, "PNG")
    for kind, data in (
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"text" * 100)),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"text" * 100)),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(200))),
        (b"eXIf", exif.tobytes()[6:]),
    ):
        found.append(png[:33] + png_chunk(kind, data) + png[33:])
    return found


def _forms() -> list[bytes]:
    def part(name: str, more: str = '; filename="a.png"', content: bytes = b"content") -> bytes:
        return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"

    head, end = b"multipart/form-data; boundary=b\n", b"--b--\r\n"
    return [
        head + part("file") + end,
        head + part("files") * 3 + part("note", "", b"words") + end,
        head + part("file", "; filename*=utf-8''%e2%82%ac.png") + end,
        head + b"preamble\r\n" + part("file", content=b"\r\n--bx\r\n--") + end + b"epilogue",
        b'Multipart/Mixed; charset=utf-8; boundary="b"\n' + part("file") + end,
        b"image/png\nbytes",
    ]


def _tensors() -> list[bytes]:
    text = base64.b64encode(b"picture").decode()
    pixels = [0, 255] * (SIDE_PIXELS * SIDE_PIXELS * 3 // 2)
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1]}
    documents: list[tuple[dict[str, object], bytes]] = [
        ({"id": "7", "inputs": [tensor | {"data": [text]}], "outputs": [{"name": "score"}]}, b""),
        ({"inputs": [tensor | {"shape": [2, 1], "data": [[text], [text]]}]}, b""),
        ({"inputs": [tensor | {"datatype": "UINT8", "shape": [1, SIDE_PIXELS, SIDE_PIXELS, 3], "data": pixels}]}, b""),
        ({"inputs": [tensor | {"parameters": {"binary_data_size": 11}}]}, b"\7\0\0\0picture"),
        (
            {
                "parameters": {"binary_data_output": True},
                "inputs": [
                    tensor
                    | {
                        "datatype": "UINT8",
                        "shape": [1, SIDE_PIXELS, SIDE_PIXELS, 3],
                        "parameters": {"binary_data_size": len(pixels)},
                    }
                ],
            },
            bytes(pixels),
        ),
    ]
    found = []
    for document, binary in documents:
        header = json.dumps(document).encode()
        found.append((b"%d" % len(header) if binary else b"") + b"\n" + header + binary)
    return found


def _requests() -> list[bytes]:
    host = b"Host: x\r\n"
    get = b"GET /echo HTTP/1.1\r\n" + host + b"\r\n"
    chunked = b"POST /echo HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n"
    declared = b"POST /echo HTTP/1.1\r\n" + host + b"Content-Length: 5\r\n\r\nwords"
    requests = [
        get,
        get + declared + get,
        declared.replace(b"/echo", b"/unread") + get,
        chunked + b"5\r\nwords\r\n0\r\n\r\n" + get,
        chunked + b'5;name="value"\r\nwords\r\n0\r\nTrailer: x\r\n\r\n',
        b"POST /echo HTTP/1.1\r\n" + host + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nwords",
        b"GET http://y/echo?q HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Request-ID: a\r\n\r\n"
        + get,
        declared.replace(b"Content-Length", b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length") + get,
        b"HEAD /unread HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\n" + host + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    return [b"\0" + request for request in requests] + [b"\7" + request for request in requests]
