"""What must hold whatever the bytes are, one function for each reader of what a caller sends.

Each takes the bytes of one input and fails with an AssertionError where the reader breaks its word; any other exception
that comes out is a finding too, and so is an input that takes long or much memory (`MEMORY_BYTES`, `SECONDS`).
"""

import asyncio
import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import cast

import numpy as np
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.bundle import InputSpec, Manifest
from service.errors import InputError
from service.http.body import Body, BodyLimiter
from service.http.exchange import KnownRoutes, exchange_of
from service.http.form import many_images, one_image
from service.http.middleware import ExchangeMiddleware
from service.http.problems import problem_of
from service.http.protocol import HttpProtocol
from service.http.v2.tensors_in import parse, pictures
from service.http.v2.tensors_out import asked_for, outputs_of
from service.inference.health import Health
from service.preprocess import decode
from service.watch.metrics import Metrics

# What one input may cost: the picture of MAX_PIXELS takes most of it. The clock on the wall runs on beside other work.
MEMORY_BYTES = 256 * 2**20
SECONDS = 30

SIDE_PIXELS = 8
MAX_PIXELS = 1_000_000
MAX_FILES = 4
MAX_BODY_BYTES = 4096


def decoder(content: bytes) -> None:
    """A picture comes out as uint8 (H, W, 3), or the caller hears what is wrong with it."""
    try:
        pixels = decode(content, height=SIDE_PIXELS, width=SIDE_PIXELS, max_pixels=MAX_PIXELS)
    except InputError as error:
        _told(error)
    else:
        assert (pixels.dtype, pixels.shape) == (np.uint8, (SIDE_PIXELS, SIDE_PIXELS, 3))


def form(content: bytes) -> None:
    """The files of a form are pieces of its body, no more of them than allowed. The first line is the Content-Type."""
    content_type, _, body = content.partition(b"\n")
    for read in (lambda: [one_image(body, content_type)], lambda: many_images(body, content_type, MAX_FILES)):
        try:
            files = read()
        except InputError as error:
            _told(error)
        else:
            assert 1 <= len(files) <= MAX_FILES
            assert all(file in body for file in files)
            assert sum(map(len, files)) <= len(body)


def tensors(content: bytes) -> None:
    """As many pictures come out as the shape says, and no more bytes than went in.

    The first line is the header Inference-Header-Content-Length, which is absent where the line is empty.
    """
    line, _, body = content.partition(b"\n")
    spec = InputSpec(height=SIDE_PIXELS, width=SIDE_PIXELS)
    try:
        parsed = parse(body, line.decode("latin-1") or None)
        wanted = asked_for(parsed.request, _outputs())
        images = pictures(parsed, spec, MAX_FILES)
    except InputError as error:
        _told(error)
        return
    assert wanted
    assert 1 <= len(images) <= MAX_FILES
    assert [len(images)] == parsed.request.inputs[0].shape[:1]
    for image in images:
        if isinstance(image, bytes):
            assert len(image) <= len(body)
        else:
            assert (image.dtype, image.shape) == (np.uint8, (SIDE_PIXELS, SIDE_PIXELS, 3))


def http(content: bytes) -> None:
    """What comes back over a connection is a row of whole answers of our own, each with an id, none of them a 5xx.

    The first byte says in pieces of how many bytes the rest arrives, 0 in one.
    """
    if content:
        asyncio.run(_converse(content[1:], piece_bytes=content[0] or len(content)))


TARGETS: dict[str, Callable[[bytes], None]] = {target.__name__: target for target in (decoder, form, tensors, http)}


def _told(error: InputError) -> None:
    """Check that *error* is the caller's own, in a sentence of ours."""
    assert 400 <= problem_of(error).status < 500
    sentence = str(error)
    assert sentence.isascii()
    assert sentence.isprintable()
    assert 10 < len(sentence) < 400, sentence


@cache
def _outputs() -> dict[str, object]:
    names = SimpleNamespace(classes=["a", "b"], groups=["c"])
    return cast(dict[str, object], outputs_of(cast(Manifest, names)))


class _Wire(asyncio.Transport):
    """The server's side of a connection: what it writes, and whether it has closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        if not self.is_closed:
            self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def write_eof(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        """The pieces come whatever it wishes: it must bear that."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""


async def _converse(sent: bytes, piece_bytes: int) -> None:
    """Send pieces over a connection until it closes or all are sent, go away, and check what came back."""
    wire, state = _Wire(), ServerState()
    protocol = HttpProtocol(_config(), state, {})
    protocol.connection_made(wire)
    for begin in range(0, len(sent), piece_bytes):
        if wire.is_closed:
            break
        protocol.data_received(sent[begin : begin + piece_bytes])
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    while state.tasks:  # noqa: ASYNC110  each ends when it hears that the client left
        await asyncio.sleep(0)
    _check_answers(wire.written, may_lack_bodies=b"HEAD " in sent)


def _check_answers(written: bytes, may_lack_bodies: bool) -> None:
    while written := written.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"):
        head, end, rest = written.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert end, written
        assert re.fullmatch(rb"HTTP/1\.1 [24]\d\d [A-Za-z -]*", lines[0]), lines[0]
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        assert len(headers) == len(lines) - 1, "no header twice"
        assert re.fullmatch(rb"[A-Za-z0-9._~:/+=-]{1,128}", headers[b"x-request-id"])
        size_bytes = int(headers[b"content-length"])
        has_body = len(rest) >= size_bytes and not rest.startswith(b"HTTP/1.1 ")
        assert has_body or may_lack_bodies
        written = rest[size_bytes:] if has_body else rest


@cache
def _config() -> uvicorn.Config:
    app = ExchangeMiddleware(
        _echo,
        known_routes=KnownRoutes(["/echo"]),
        public_routes=frozenset({"/echo"}),
        api_keys=None,
        traces=None,
        max_body_bytes=MAX_BODY_BYTES,
        health=Health(),
        metrics=Metrics(CollectorRegistry()),
    )
    return uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", http=HttpProtocol, ws="none")


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body as the routes do, except on /unread, and say how long it was."""
    request = Request(scope, receive)
    limiter = BodyLimiter(max_body_bytes=MAX_BODY_BYTES, max_buffered_bytes=MAX_BODY_BYTES, timeout_seconds=60)
    content = b""
    if scope["path"] != "/unread":
        with Body(limiter) as body:
            content = await body.read(receive, exchange_of(request).content_length)
    await Response(b"%d" % len(content))(scope, receive, send)
