"""uvicorn's HTTP/1.1, with limits of time and size for the head of a request, no doubt about where a request ends, a
problem document for what is no HTTP, and an end that resets nobody.
"""

import asyncio
import json
import time

import httptools
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.http.exchange import new_request_id
from service.http.problems import problem_document
from service.http.security_headers import security_headers
from service.http.sockets import is_readable

# From the first byte of a request to the end of its headers. The body has its own time, MOS_BODY_TIMEOUT_MS.
HEAD_SECONDS = 10.0
# Of a head, and of what stands around the chunks of a body: extensions and trailers. Proxies pass less on.
MAX_HEAD_BYTES = 64 * 2**10
# How long a client whose request was refused may go on sending before it has read so.
LINGER_SECONDS = 1.0


class HttpProtocol(HttpToolsProtocol):
    """One connection; without this a client that trickles its headers would hold it for ever."""

    _head_timer: asyncio.TimerHandle | None = None
    _unparsed_bytes = 0  # since the parser had something to tell
    _is_in_body = False  # between the headers of a request and its end
    _idle_since = 0.0  # seconds of time.monotonic
    _has_ended = False
    _refusal: HTTPException | None = None  # what is to be answered when all that came before is

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close a connection on which nothing is ever sent, as uvicorn closes one on which nothing more is."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        self._close_unless_asked()

    def on_message_begin(self) -> None:
        """Give the head its time."""
        super().on_message_begin()
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header, but no trailer: what comes behind a body must not pass for what a proxy has seen before it."""
        if self._head_timer is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request; its head came in time. Raises HTTPException where it must not be served."""
        self._stop_head_timer()
        self._unparsed_bytes = 0
        _require_sound_head(self.parser.get_http_version(), self.parser.get_method(), self.url, self.headers)
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self._is_in_body = True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, but for one that the parser took for its last: it is begun anew."""
        self._unparsed_bytes = 0
        self._is_in_body = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note when the connection became idle, or end it where that was the last before a refusal."""
        is_last = not self.pipeline
        super().on_response_complete()
        self._idle_since = time.monotonic()
        if is_last and self._refusal is not None and not self.transport.is_closing():
            self._end_with(self._refusal)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, but for what crosses our end: it can no longer be answered."""
        if self._has_ended:
            return
        self._unset_keepalive_if_required()
        self._unparsed_bytes += len(data)
        try:
            self._parse(data)
            if self._unparsed_bytes > MAX_HEAD_BYTES:
                raise HTTPException(431)
        except (httptools.HttpParserError, HTTPException) as error:
            said = (error, error.__context__)  # a callback's error comes as the context of the parser's
            self._refuse(next((each for each in said if isinstance(each, HTTPException)), HTTPException(400)))
        self._close_unless_asked()

    def _parse(self, data: bytes) -> None:
        """Hand *data* to the parser, past every offer of another protocol (curl's and Java's of HTTP/2): we take none.

        At such an offer the parser stops, before the body: it is given the head again, without it. To go on instead
        would read the body as the next request.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                fields = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade")
                version = self.parser.get_http_version().encode("ascii")
                head = b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, fields)
                self.parser = httptools.HttpRequestParser(self)
                self.parser.feed_data(head)
            else:
                return

    def end_if_idle_since(self, latest: float, linger_seconds: float) -> None:
        """Say that no more is answered where nothing was asked since *latest*, and nothing has come that is not read.

        For *linger_seconds* what the client sends is still read: to close at once would answer it with a reset.
        """
        if not self._is_idle or self._idle_since > latest or is_readable(self.transport.get_extra_info("socket")):
            return
        self._has_ended = True
        self._close_after(linger_seconds)

    @property
    def _is_idle(self) -> bool:
        """True between an answer that is sent whole and the first byte of the next request."""
        is_answered = self.cycle is None or (self.cycle.response_complete and not self.pipeline)
        has_sent = not self.transport.get_write_buffer_size()
        return not self._has_ended and self._head_timer is None and is_answered and has_sent

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def _refuse(self, refusal: HTTPException) -> None:
        """Read no more, and answer *refusal* in its turn: when all that was asked before has been answered."""
        self.logger.warning("A request that cannot be read was refused.")
        self._has_ended = True
        self._stop_head_timer()
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self._is_in_body:  # what cannot be read is the body of the last request
            if self.pipeline:
                self.pipeline.popleft()
            elif self.cycle.response_started:
                self.transport.close()
                return
            else:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                is_answering = False
        if is_answering:
            self._refusal = refusal
        else:
            self._end_with(refusal)

    def _end_with(self, refusal: HTTPException) -> None:
        """Answer *refusal*, without repeating why, and end; what the client still sends must not reset the answer."""
        request_id = new_request_id()
        document = problem_document(refusal, request_id)
        body = json.dumps(document).encode()
        headers = (
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode("ascii")),
            *security_headers(),
            (b"connection", b"close"),
        )
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self._unset_keepalive_if_required()
        self.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[document["status"]], head, body))
        self._close_after(LINGER_SECONDS)

    def _close_after(self, seconds: float) -> None:
        """Say that no more is answered, read on for so long, and close: to close at once would be a reset."""
        self.transport.write_eof()
        self.loop.call_later(seconds, self.transport.close)

    def _close_unless_asked(self) -> None:
        """Close the connection after a while in which nothing more is asked, where nothing is being answered."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not (is_answering or self._head_timer or self.timeout_keep_alive_task or self.transport.is_closing()):
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _require_sound_head(version: str, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Raise HTTPException for a head over its limit, or one that the next server may understand otherwise."""
    if len(url) + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES:
        raise HTTPException(431)
    hosts = sum(name == b"host" for name, _ in headers)
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    is_agreed = {
        "1.1": hosts == 1 and codings in ([], [b"chunked"]),
        "1.0": hosts <= 1 and not codings,
    }
    if not is_agreed.get(version, False) or method == b"CONNECT":
        raise HTTPException(400)
