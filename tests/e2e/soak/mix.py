"""Requests of every kind in a mix that a seed decides, each with what must be answered to it."""

import base64
import io
import itertools
import json
import random
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.e2e.traffic import Request

MAX_BODY_BYTES = 2**20
MAX_PIXELS = 4_000_000
MOST_FILES = 6
# How often each kind comes, in a hundred requests.
SHARES = {"raw": 40, "form": 10, "batch": 10, "v2 json": 10, "v2 binary": 12, "read": 8, "bad": 10}
READ = ("/", "/health/live", "/v2/health/live", "/model", "/metrics", "/openapi.json")
V2_ROUTE = "/v2/models/{model}/infer"


class Expected(NamedTuple):
    """The answer that is due: its status, and for each item the picture's number or the code of its problem."""

    route: str  # as the service counts it
    status: int = 200
    items: tuple[int | str, ...] = ()


def made_pictures(count: int, seed: int) -> list[bytes]:
    """Colours, slopes and noise in all three formats, most of them small as such models take them."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        height, width = draw.integers(8, 400 if number % 10 == 0 else 64, 2).tolist()
        coarse = draw.integers(0, 256, (1 if number % 3 else 4, 1 if number % 3 else 5, 3), np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, ("PNG", "JPEG", "WEBP")[number % 3 if number % 2 else 0])
        found.append(buffer.getvalue())
    return found


def mix(pictures: Sequence[bytes], model: str, seed: int) -> Iterator[Request]:
    """Requests without end; each has an id of its own."""
    draw = random.Random(seed)
    makers = {
        "raw": lambda: _raw(draw, pictures),
        "form": lambda: _form(draw, pictures),
        "batch": lambda: _batch(draw, pictures),
        "v2 json": lambda: _v2_json(draw, pictures, model),
        "v2 binary": lambda: _v2_binary(draw, pictures, model),
        "read": lambda: _read(draw),
        "bad": lambda: _bad(draw, pictures[0], model),
    }
    for number in itertools.count():
        [kind] = draw.choices(list(SHARES), list(SHARES.values()))
        path, content, headers, expected = makers[kind]()
        headers = {"X-Request-ID": f"soak-{seed}-{number}", **headers}
        yield Request(kind, content, path, "GET" if kind == "read" else "POST", headers, expected)


_Made = tuple[str, bytes, dict[str, str], Expected]


def _raw(draw: random.Random, pictures: Sequence[bytes]) -> _Made:
    number = draw.randrange(len(pictures))
    return "/predict", pictures[number], {}, Expected("/predict", items=(number,))


def _form(draw: random.Random, pictures: Sequence[bytes]) -> _Made:
    number = draw.randrange(len(pictures))
    return "/predict", *form("file", [pictures[number]]), Expected("/predict", items=(number,))


def _batch(draw: random.Random, pictures: Sequence[bytes]) -> _Made:
    items: list[int | str] = [draw.randrange(len(pictures)) for _ in range(draw.randint(1, MOST_FILES))]
    files = [pictures[item] for item in items if isinstance(item, int)]
    if draw.random() < 0.3:
        files[-1], items[-1] = b"no picture", "unsupported_format"
    return "/predict/batch", *form("files", files), Expected("/predict/batch", items=tuple(items))


def _v2_json(draw: random.Random, pictures: Sequence[bytes], model: str) -> _Made:
    items = tuple(draw.randrange(len(pictures)) for _ in range(draw.randint(1, 3)))
    data = [base64.b64encode(pictures[item]).decode() for item in items]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [len(items)], "data": data}
    document = {"inputs": [tensor], "outputs": [{"name": name} for name in ("score", "threshold", "decision")]}
    return f"/v2/models/{model}/infer", json.dumps(document).encode(), {}, Expected(V2_ROUTE, items=items)


def _v2_binary(draw: random.Random, pictures: Sequence[bytes], model: str) -> _Made:
    items = tuple(draw.randrange(len(pictures)) for _ in range(draw.randint(1, 3)))
    binary = b"".join(struct.pack("<I", len(pictures[item])) + pictures[item] for item in items)
    tensor = {
        "name": "images",
        "datatype": "BYTES",
        "shape": [len(items), 1],
        "parameters": {"binary_data_size": len(binary)},
    }
    outputs = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "threshold"}, {"name": "decision"}]
    header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return f"/v2/models/{model}/infer", header + binary, headers, Expected(V2_ROUTE, items=items)


def _read(draw: random.Random) -> _Made:
    path = draw.choice(READ)
    return path, b"", {}, Expected(path)


def _bad(draw: random.Random, picture: bytes, model: str) -> _Made:
    huge = io.BytesIO()
    Image.new("1", (MAX_PIXELS // 1000 + 1, 1000)).save(huge, "PNG")
    infer = f"/v2/models/{model}/infer"
    cases: list[_Made] = [
        ("/predict", b"", {}, Expected("/predict", 400, ("empty_body",))),
        ("/predict", picture[:-20], {}, Expected("/predict", 400, ("corrupt_image",))),
        ("/predict", b"GIF89a" + picture, {}, Expected("/predict", 415, ("unsupported_format",))),
        ("/predict", huge.getvalue(), {}, Expected("/predict", 413, ("too_many_pixels",))),
        ("/predict", bytes(MAX_BODY_BYTES + 1), {}, Expected("/predict", 413, ("body_too_large",))),
        ("/predict", *form("image", [picture]), Expected("/predict", 400, ("empty_body",))),
        ("/predict/batch", picture, {}, Expected("/predict/batch", 422, ("wrong_fields",))),
        (infer, b'{"inputs": [', {}, Expected(V2_ROUTE, 400)),
        (infer, b'{"inputs": []}', {}, Expected(V2_ROUTE, 422)),
        (infer.replace(model, "another"), b"{}", {}, Expected(V2_ROUTE, 404)),
        ("/nowhere", b"", {}, Expected("other", 404, ("not_found",))),
        ("/model", b"", {}, Expected("/model", 405, ("method_not_allowed",))),
    ]
    return draw.choice(cases)


def form(name: str, files: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """A multipart body of *files*, each under *name*, and its Content-Type."""
    edge = "edge-of-a-part-that-no-picture-has"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode()
    body = b"".join(head + file + b"\r\n" for file in files) + f"--{edge}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
