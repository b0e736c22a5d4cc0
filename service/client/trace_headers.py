"""The headers by which a request goes on with the caller's trace."""

import sys


def trace_headers() -> dict[str, str]:
    """Return W3C's `traceparent`, and whatever else OpenTelemetry is told to send on; nothing where it is not used.

    Where nobody has imported it there is no trace to go on with, so that the client need not do it either.
    """
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.propagate import inject

    headers: dict[str, str] = {}
    inject(headers)
    return headers
