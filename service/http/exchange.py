"""One HTTP exchange, from the headers of a request to its answer: its id, its route, its times."""

import random
import re
import time
from dataclasses import dataclass, field
from typing import Self, cast

from starlette.requests import Request
from starlette.types import Scope

# What every unknown path is counted as, so that no caller can make up a new label.
OTHER_ROUTE = "other"
# They ask for no key, so that an orchestrator needs no secret.
PROBE_ROUTES = frozenset({"/health/live", "/health/ready"})
METRICS_ROUTE = "/metrics"
# They check keys of their own, and no API key opens them.
OWN_KEYS_ROUTES = frozenset({"/feedback"})

_SAFE_ID = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}")
_SCOPE_KEY = "mos.exchange"


@dataclass(slots=True)
class Exchange:
    """What is known of one exchange while it lasts."""

    request_id: str
    route: str
    started_at: float  # seconds of time.monotonic
    is_public: bool = False  # asked in passing, again and again, by probes and Prometheus, who have no key
    content_type: bytes = b""
    content_length: int | None = None
    is_chunked: bool = False
    body_ended: bool = False
    status: int = 0  # 0 until the answer begins
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    log_fields: dict[str, object] = field(default_factory=dict)

    @classmethod
    def begin(cls, scope: Scope, known_routes: frozenset[str], public_routes: frozenset[str]) -> Self:
        """Begin the exchange of *scope*, and leave it there for `exchange_of`."""
        path = scope["path"]
        route = path if path in known_routes else OTHER_ROUTE
        exchange = cls("", route, time.monotonic(), route in public_routes)
        for name, value in scope["headers"]:
            if name == b"content-type":
                exchange.content_type = value
            elif name == b"content-length":
                exchange.content_length = int(value)
            elif name == b"transfer-encoding":
                exchange.is_chunked = True
            elif name == b"x-request-id" and _SAFE_ID.fullmatch(value):
                exchange.request_id = value.decode("ascii")
        exchange.request_id = exchange.request_id or new_request_id()
        scope[_SCOPE_KEY] = exchange
        return exchange

    @property
    def needs_api_key(self) -> bool:
        """True where one of the API keys opens the route, if the service has any."""
        return not self.is_public and self.route not in OWN_KEYS_ROUTES


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that the middleware began for *request*."""
    return cast(Exchange, request.scope[_SCOPE_KEY])


def new_request_id() -> str:
    """Return an id that is unique and not secret: it costs no system call."""
    return f"{random.getrandbits(128):032x}"
