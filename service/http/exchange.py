"""One HTTP exchange, from the headers of a request to its answer: its id, its route, its times."""

import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, cast

from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import Scope

from service.watch.trace_context import TraceContext, parse_traceparent

if TYPE_CHECKING:
    from service.watch.spans import RequestSpan

# What every unknown path is counted as, so that no caller can make up a new label.
OTHER_ROUTE = "other"
# They ask for no key, so that an orchestrator needs no secret.
PROBE_ROUTES = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"})
METRICS_ROUTE = "/metrics"
# They judge images: what they refuse is what the guard did not judge.
VERDICT_ROUTES = frozenset(
    {
        *("/predict", "/predict/batch"),
        *("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"),
    }
)
# They check keys of their own, and no API key opens them.
OWN_KEYS_ROUTES = frozenset({"/feedback"})
# The page asks for the key itself, so it is there without one; it says nothing of the model.
PAGE_ROUTES = frozenset({"/", "/page/{name}"})

_SAFE_ID = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}")
_SCOPE_KEY = "mos.exchange"


class KnownRoutes:
    """The paths that there are, as templates such as `/v2/models/{model}`: a bounded set, whatever callers ask for."""

    def __init__(self, templates: Iterable[str]) -> None:
        known = frozenset(templates)
        self._fixed = frozenset(template for template in known if "{" not in template)
        self._patterns = [(compile_path(template)[0], template) for template in sorted(known - self._fixed)]

    def route_of(self, path: str) -> str:
        """Return the template that *path* falls under."""
        if path in self._fixed:
            return path
        return next((template for pattern, template in self._patterns if pattern.match(path)), OTHER_ROUTE)


@dataclass(slots=True)
class Exchange:
    """What is known of one exchange while it lasts."""

    request_id: str
    route: str
    started_at: float  # seconds of time.monotonic
    is_public: bool = False  # asked in passing, again and again, by probes and Prometheus, who have no key
    is_v2: bool = False  # on a path of the Open Inference Protocol, known or not
    content_type: bytes = b""
    content_encoding: bytes = b""
    content_length: int | None = None
    is_chunked: bool = False
    body_ended: bool = False
    status: int = 0  # 0 until the answer begins
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    log_fields: dict[str, str | float] = field(default_factory=dict)
    trace: TraceContext | None = None  # the caller's, until there is a span of its own
    span: "RequestSpan | None" = None

    @classmethod
    def begin(cls, scope: Scope, known_routes: KnownRoutes, public_routes: frozenset[str]) -> Self:
        """Begin the exchange of *scope*, and leave it there for `exchange_of`."""
        path = scope["path"]
        route = known_routes.route_of(path)
        is_v2 = path == "/v2" or path.startswith("/v2/")
        exchange = cls("", route, time.monotonic(), route in public_routes, is_v2)
        for name, value in scope["headers"]:
            if name == b"content-type":
                exchange.content_type = value
            elif name == b"content-encoding":
                exchange.content_encoding = value
            elif name == b"content-length":
                exchange.content_length = int(value)
            elif name == b"transfer-encoding":
                exchange.is_chunked = True
            elif name == b"x-request-id" and _SAFE_ID.fullmatch(value):
                exchange.request_id = value.decode("ascii")
            elif name == b"traceparent":
                exchange.trace = parse_traceparent(value)
        exchange.request_id = exchange.request_id or new_request_id()
        scope[_SCOPE_KEY] = exchange
        return exchange

    @property
    def asks_for_verdicts(self) -> bool:
        """True on the routes that judge images."""
        return self.route in VERDICT_ROUTES

    @property
    def needs_api_key(self) -> bool:
        """True where one of the API keys opens the route, if the service has any."""
        return not self.is_public and self.route not in OWN_KEYS_ROUTES | PAGE_ROUTES


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that the middleware began for *request*."""
    return cast(Exchange, request.scope[_SCOPE_KEY])


def new_request_id() -> str:
    """Return an id that is unique and not secret: it costs no system call."""
    return f"{random.getrandbits(128):032x}"
