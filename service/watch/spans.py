"""Spans of requests and of engine batches, made and sent by OpenTelemetry; nothing else imports it.

A request's own span begins with it, for its id is needed meanwhile. All others are made when the answer is sent, from
times that were taken anyway: no answer waits for them, and no thread needs to know of what it works for. How they are
sampled and where they go is for OpenTelemetry's environment variables to say.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from service.watch.trace_context import TraceContext

# The name of the service, unless OTEL_SERVICE_NAME has another one, and of what makes its spans.
NAME = "mos-guard"
# The methods that the conventions know; another is the caller's own word, and no name of a span.
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
# Of a path that no route has; a caller may make it as long as all headers together.
MAX_PATH_CHARACTERS = 256
# A collector that takes nothing for so long at the end is left behind.
LAST_SEND_SECONDS = 2.0

Attributes = Mapping[str, str | float]


class _Clock:
    """Turns monotonic seconds into nanoseconds of the time of day, by how far the two are apart when it is made.

    One for each request: its spans then lie in each other, whatever is done to the time of day meanwhile.
    """

    def __init__(self) -> None:
        self._distance_ns = time.time_ns() - time.monotonic_ns()

    def ns(self, monotonic_seconds: float) -> int:
        return self._distance_ns + round(1e9 * monotonic_seconds)


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    started_at: float  # seconds of time.monotonic
    seconds: float
    attributes: Attributes
    links: Sequence[Link]


class RequestSpan:
    """The span of one request while it lasts, and the stages that its images went through."""

    def __init__(self, tracer: Tracer, span: Span, clock: _Clock) -> None:
        self._tracer = tracer
        self._span = span
        self._clock = clock
        self._stages: list[_Stage] = []
        self._batches: dict[float, SpanContext] = {}  # by when each began

    @property
    def is_recording(self) -> bool:
        """False where the trace is not sampled: then there is nothing to note."""
        return self._span.is_recording()

    @property
    def trace(self) -> TraceContext:
        """What logs and series call this span."""
        own = self._span.get_span_context()
        return TraceContext(
            format_trace_id(own.trace_id), format_span_id(own.span_id), own.trace_flags.sampled, is_remote=False
        )

    @property
    def link(self) -> Link:
        """A link to this span."""
        return Link(self._span.get_span_context())

    def ran_in(self, batch: SpanContext, started_at: float) -> None:
        """Note a batch that images of this request ran in, from *started_at*, in seconds of `time.monotonic`."""
        self._batches[started_at] = batch

    def note(self, stage: str, started_at: float, seconds: float, attributes: Attributes) -> None:
        """Note a stage that began at *started_at*, in seconds of `time.monotonic`: a batch, if that is when one did."""
        batch = self._batches.get(started_at)
        links = () if batch is None else (Link(batch),)
        self._stages.append(_Stage(stage, started_at, seconds, attributes, links))

    def end(self, attributes: Attributes, *, is_error: bool) -> None:
        """Make the spans of all stages, and end with them."""
        within = set_span_in_context(self._span, Context())
        for stage in self._stages:
            begin_ns = self._clock.ns(stage.started_at)
            span = self._tracer.start_span(
                stage.name, within, attributes=stage.attributes, links=stage.links, start_time=begin_ns
            )
            span.end(begin_ns + round(1e9 * stage.seconds))
        self._span.set_attributes(attributes)
        if is_error:
            self._span.set_status(StatusCode.ERROR)
        self._span.end(self._clock.ns(time.monotonic()))


class Traces:
    """Makes the spans of one process and sends them from a thread of its own; what finds no room there is dropped.

    The provider of spans is not made the process's own, so that no library begins to make spans beside these.
    """

    def __init__(self) -> None:
        resource = Resource.create({"service.name": NAME}).merge(OTELResourceDetector().detect())
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        self._requests = self._tracer(resource, sampler=None)
        # Whether a batch is kept is no chance of its own: it is where one of its requests is.
        self._batches = self._tracer(resource, ALWAYS_ON)

    def _tracer(self, resource: Resource, sampler: Sampler | None) -> Tracer:
        """Return what makes spans; without a *sampler* it is the one that the environment names."""
        provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return provider.get_tracer(NAME)

    def begin(
        self,
        *,
        method: str,
        scheme: str,
        path: str,
        route: str | None,
        started_at: float,
        caller: TraceContext | None,
        tracestate: Sequence[str],
    ) -> RequestSpan:
        """Begin the span of a request, in the trace of *caller* where there is one.

        *route* is None where no route has the path; *started_at* is in seconds of `time.monotonic`; *tracestate* are
        the headers of that name.
        """
        known = method in METHODS
        attributes = {
            "http.request.method": method if known else "_OTHER",
            "url.scheme": scheme,
            "url.path": path[:MAX_PATH_CHARACTERS],
        }
        if route is not None:
            attributes["http.route"] = route
        clock = _Clock()
        span = self._requests.start_span(
            " ".join(filter(None, [method if known else "HTTP", route])),
            _context_of(caller, tracestate),
            SpanKind.SERVER,
            attributes,
            start_time=clock.ns(started_at),
        )
        return RequestSpan(self._requests, span, clock)

    def batch(
        self, callers: Sequence[object], started_at: float, run_seconds: float, error: Exception | None = None
    ) -> None:
        """Make the span of a batch that ran for *callers*, one an image, from *started_at* of `time.monotonic`.

        It is linked with those of them that are spans, and there is none where none is. The canaries call as nobody.
        """
        requests = dict.fromkeys(caller for caller in callers if isinstance(caller, RequestSpan))
        if not requests:
            return
        begin_ns = _Clock().ns(started_at)
        attributes: dict[str, str | int] = {"mos.batch.size": len(callers)}
        if error is not None:
            attributes["error.type"] = type(error).__name__
        span = self._batches.start_span(
            "batch", Context(), attributes=attributes, links=[request.link for request in requests], start_time=begin_ns
        )
        if error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(begin_ns + round(1e9 * run_seconds))
        for request in requests:
            request.ran_in(span.get_span_context(), started_at)

    def close(self) -> None:
        """Send what waits, as far as the collector takes it in time."""
        sending = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(LAST_SEND_SECONDS)


def _context_of(caller: TraceContext | None, tracestate: Sequence[str]) -> Context:
    """Return the context of a request: its caller's span, or that of a new trace."""
    if caller is None:
        return Context()
    span = SpanContext(
        trace_id=int(caller.trace_id, 16),
        span_id=int(caller.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if caller.is_sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header(list(tracestate)),
    )
    return set_span_in_context(NonRecordingSpan(span), Context())
