"""uvicorn's HTTP/1.1, with a time limit for the head of a request, and a problem document for what is no HTTP."""

import asyncio
import json

from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.exchange import new_request_id
from service.http.problems import problem_document
from service.http.security_headers import security_headers

# From the first byte of a request to the end of its headers. The body has its own time, MOS_BODY_TIMEOUT_MS.
HEAD_SECONDS = 10.0


class HttpProtocol(HttpToolsProtocol):
    """One connection; without this a client that trickles its headers would hold it for ever."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close a connection on which nothing is ever sent, as uvicorn closes one on which nothing more is."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """Give the head its time."""
        super().on_message_begin()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        """Begin the request; its head came in time."""
        self._stop_head_timer()
        super().on_headers_complete()

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
