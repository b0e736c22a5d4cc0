"""uvicorn's HTTP/1.1, with a time limit for the head of a request, a problem document for what is no HTTP, and an end
that resets nobody.
"""

import asyncio
import json
import time

from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.exchange import new_request_id
from service.http.problems import problem_document
from service.http.security_headers import security_headers
from service.http.sockets import is_readable

# From the first byte of a request to the end of its headers. The body has its own time, MOS_BODY_TIMEOUT_MS.
HEAD_SECONDS = 10.0


class HttpProtocol(HttpToolsProtocol):
    """One connection; without this a client that trickles its headers would hold it for ever."""

    _head_timer: asyncio.TimerHandle | None = None
    _idle_since = 0.0  # seconds of time.monotonic
    _has_ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close a connection on which nothing is ever sent, as uvicorn closes one on which nothing more is."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """Give the head its time."""
        super().on_message_begin()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        """Begin the request; its head came in time."""
        self._stop_head_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Note when the connection became idle."""
        super().on_response_complete()
        self._idle_since = time.monotonic()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, but for what crosses our end: it can no longer be answered."""
        if not self._has_ended:
            super().data_received(data)

    def end_if_idle_since(self, latest: float, linger_seconds: float) -> None:
        """Say that no more is answered where nothing was asked since *latest*, and nothing has come that is not read.

        For *linger_seconds* what the client sends is still read: to close at once would answer it with a reset.
        """
        if not self._is_idle or self._idle_since > latest or is_readable(self.transport.get_extra_info("socket")):
            return
        self._has_ended = True
        self.transport.write_eof()
        self.loop.call_later(linger_seconds, self.transport.close)

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

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read, without repeating why, and close."""
        request_id = new_request_id()
        body = json.dumps(problem_document(HTTPException(400), request_id)).encode()
        headers = (
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode("ascii")),
            *security_headers(),
            (b"connection", b"close"),
        )
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%s\r\n%s" % (head, body))
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
