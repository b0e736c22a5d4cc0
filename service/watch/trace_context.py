"""W3C Trace Context: which trace a request belongs to, as its caller says in the header `traceparent`."""

import re
from typing import NamedTuple

# Version, trace-id, parent-id and trace-flags; ids of nothing but zeros and version ff are invalid.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


class TraceContext(NamedTuple):
    """A span and the trace that it is part of."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 hexadecimal digits
    is_sampled: bool  # whether somebody keeps the trace
    is_remote: bool  # whether the span is the caller's, and not the service's own

    @property
    def log_fields(self) -> dict[str, str]:
        """What a line of log says of the trace, by OpenTelemetry's names; a caller's span did not write the line."""
        span_id = {} if self.is_remote else {"span_id": self.span_id}
        return {"trace_id": self.trace_id, **span_id, "trace_flags": f"{self.is_sampled:02x}"}


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Return what a `traceparent` says; None where it is malformed, which is as good as none."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"00" and more is not None:  # later versions may say more, this one may not
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED), is_remote=True)
