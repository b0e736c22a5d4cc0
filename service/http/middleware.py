"""What every exchange gets: an id, its key checked, its errors answered, its times in a header, and a record."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotReady
from service.http.api_keys import KeyFile
from service.http.exchange import Exchange, KnownRoutes
from service.http.problems import problem_of, problem_response, v2_error_response
from service.http.recording import UNANSWERED, begin_span, milliseconds, record_exchange, record_problem
from service.http.security_headers import security_headers
from service.inference.health import Health
from service.watch.metrics import Metrics

if TYPE_CHECKING:
    from service.watch.spans import Traces

# How long the rest of a refused body is thrown away, so that the client can read its answer before the connection ends.
LINGER_SECONDS = 2.0


class ExchangeMiddleware:
    """Pure ASGI, outside everything but the server: whatever error comes up here is answered as a problem."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        known_routes: KnownRoutes,
        public_routes: frozenset[str],
        api_keys: KeyFile | None,
        max_body_bytes: int,
        health: Health,
        metrics: Metrics,
        traces: "Traces | None",
    ) -> None:
        self._app = app
        self._known_routes = known_routes
        self._public_routes = public_routes
        self._api_keys = api_keys
        self._max_body_bytes = max_body_bytes
        self._health = health
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange.begin(scope, self._known_routes, self._public_routes)
        if self._traces is not None:
            begin_span(exchange, scope, self._traces)
        channels = _Channels(exchange, receive, send, self._closes)
        try:
            await self._serve(scope, exchange, channels)
        finally:
            exchange.status = exchange.status or UNANSWERED
            record_exchange(exchange, scope["method"], self._metrics)

    async def _serve(self, scope: Scope, exchange: Exchange, channels: "_Channels") -> None:
        try:
            if self._api_keys is not None and exchange.needs_api_key:
                self._api_keys.check(scope["headers"])
            await self._app(scope, channels.receive, channels.send)
        except Exception as error:
            if exchange.status:
                raise
            await self._refuse(error, scope, exchange, channels)
        except asyncio.CancelledError:
            if exchange.status or not self._health.draining:
                raise
            # The server ends and waits no longer: even then the client hears it from us.
            exchange.body_ended = True  # nothing more of it will be read
            ending = NotReady("The service ended before the request was complete; send it to another replica.")
            await self._refuse(ending, scope, exchange, channels)

    async def _refuse(self, error: Exception, scope: Scope, exchange: Exchange, channels: "_Channels") -> None:
        exchange.log_fields["code"] = problem_of(error).code
        record_problem(error, exchange, self._metrics)
        response = v2_error_response(error) if exchange.is_v2 else problem_response(error, exchange.request_id)
        await response(scope, channels.receive, channels.send)

    def _closes(self, exchange: Exchange) -> bool:
        """Say whether the connection ends with this answer."""
        may_be_too_large = exchange.is_chunked or (exchange.content_length or 0) > self._max_body_bytes
        is_body_refused = may_be_too_large and not exchange.body_ended
        return is_body_refused or exchange.status == 408 or self._health.draining


class _Channels:
    """The two channels of one exchange, watched."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, closes: Callable[[Exchange], bool]) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._closes = closes
        self._lingers = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._exchange.body_ended = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
        elif self._lingers and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _start(self, message: Message) -> None:
        exchange = self._exchange
        exchange.status = message["status"]
        exchange.seconds = time.monotonic() - exchange.started_at
        own = message.get("headers", ())
        headers = [
            *own,
            *security_headers(own),
            (b"x-request-id", exchange.request_id.encode("ascii")),
            (b"server-timing", _server_timing(exchange)),
        ]
        if self._closes(exchange):
            headers.append((b"connection", b"close"))
            self._lingers = not exchange.body_ended and (exchange.is_chunked or bool(exchange.content_length))
        message["headers"] = headers

    async def _linger(self) -> None:
        """Throw the rest of the body away for a while: closing at once would reset the connection under the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._exchange.body_ended:
                    await self.receive()


def _server_timing(exchange: Exchange) -> bytes:
    times = [*exchange.stage_seconds.items(), ("total", exchange.seconds)]
    return ", ".join(f"{name};dur={milliseconds(seconds)}" for name, seconds in times).encode("ascii")
