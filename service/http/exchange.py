"""What every HTTP exchange gets: an id, its key checked, its times in a header, a log line, and its series counted."""

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import NotReady
from service.http.keys import check_api_key
from service.inference.health import Health
from service.watch.metrics import Metrics

OTHER_ROUTE = "other"
# What is counted where the exchange ended before an answer began.
UNANSWERED = 499
# Open without a key, so that an orchestrator and Prometheus need no secret.
OPEN_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics"})
# How long the rest of a refused body is thrown away, so that the client can read its answer before the connection ends.
LINGER_SECONDS = 2.0

_SAFE_ID = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}")
_TRACE = "mos.trace"
_log = logging.getLogger("service.request")


@dataclass(slots=True)
class Trace:
    """What is known of one exchange while it lasts."""

    request_id: str
    route: str
    started_at: float
    content_type: bytes = b""
    declared_bytes: int | None = None
    is_chunked: bool = False
    body_ended: bool = False
    status: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)  # seconds
    facts: dict[str, object] = field(default_factory=dict)  # for the log line


def trace_of(request: Request) -> Trace:
    """Return the trace that the middleware began for *request*."""
    return cast(Trace, request.scope[_TRACE])


class ExchangeMiddleware:
    """Pure ASGI, outside everything but the server: also its own errors become problems."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: frozenset[str],
        api_keys: frozenset[bytes],
        max_body_bytes: int,
        health: Health,
        metrics: Metrics,
        problem: Callable[[Exception, Trace], Response],
    ) -> None:
        self._app = app
        self._routes = routes
        self._api_keys = api_keys
        self._max_body_bytes = max_body_bytes
        self._health = health
        self._metrics = metrics
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = scope[_TRACE] = self._begin(scope)
        answer = _Answer(trace, receive, send, self._closes)
        try:
            if self._api_keys and trace.route not in OPEN_ROUTES:
                check_api_key(scope["headers"], self._api_keys)
            await self._app(scope, answer.receive, answer.send)
        except Exception as error:
            if trace.status:
                raise
            await self._problem(error, trace)(scope, answer.receive, answer.send)
        except asyncio.CancelledError:
            if trace.status or not self._health.draining:
                raise
            # The server ends and waits no longer: even then the client hears it from us.
            trace.body_ended = True  # nothing more of it will be read
            ending = NotReady("The service ended before the request was complete; send it to another replica.")
            await self._problem(ending, trace)(scope, answer.receive, answer.send)
        finally:
            trace.status = trace.status or UNANSWERED
            self._note(scope["method"], trace)

    def _begin(self, scope: Scope) -> Trace:
        path = scope["path"]
        trace = Trace("", path if path in self._routes else OTHER_ROUTE, time.monotonic())
        for name, value in scope["headers"]:
            if name == b"content-type":
                trace.content_type = value
            elif name == b"content-length":
                trace.declared_bytes = int(value)
            elif name == b"transfer-encoding":
                trace.is_chunked = True
            elif name == b"x-request-id" and _SAFE_ID.fullmatch(value):
                trace.request_id = value.decode("ascii")
        if not trace.request_id:
            trace.request_id = f"{random.getrandbits(128):032x}"  # unique, not secret: no system call for it
        return trace

    def _closes(self, trace: Trace) -> bool:
        """Say whether the connection ends with this answer."""
        refused_body = not trace.body_ended and (trace.is_chunked or (trace.declared_bytes or 0) > self._max_body_bytes)
        return refused_body or trace.status == 408 or self._health.draining

    def _note(self, method: str, trace: Trace) -> None:
        self._metrics.request(trace.route, trace.status, trace.seconds)
        level = logging.DEBUG if trace.route in OPEN_ROUTES else logging.ERROR if trace.status == 500 else logging.INFO
        if not _log.isEnabledFor(level):
            return
        fields = {"request_id": trace.request_id, "method": method, "route": trace.route, "status": trace.status}
        fields["duration_ms"] = _ms(trace.seconds)
        fields |= {f"{stage}_ms": _ms(seconds) for stage, seconds in trace.stages.items()}
        _log.log(level, "request", extra={"fields": fields | trace.facts})


class _Answer:
    """The two channels of one exchange, watched."""

    def __init__(self, trace: Trace, receive: Receive, send: Send, closes: Callable[[Trace], bool]) -> None:
        self._trace = trace
        self._receive = receive
        self._send = send
        self._closes = closes
        self._lingers = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._trace.body_ended = True
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
        trace = self._trace
        trace.status = message["status"]
        trace.seconds = time.monotonic() - trace.started_at
        times = [*trace.stages.items(), ("total", trace.seconds)]
        timing = ", ".join(f"{name};dur={_ms(seconds)}" for name, seconds in times)
        headers = [
            *message.get("headers", ()),
            (b"x-request-id", trace.request_id.encode("ascii")),
            (b"server-timing", timing.encode("ascii")),
        ]
        if self._closes(trace):
            headers.append((b"connection", b"close"))
            self._lingers = not trace.body_ended and (trace.is_chunked or bool(trace.declared_bytes))
        message["headers"] = headers

    async def _linger(self) -> None:
        """Throw the rest of the body away for a while: closing at once would reset the connection under the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._trace.body_ended:
                    await self.receive()


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
