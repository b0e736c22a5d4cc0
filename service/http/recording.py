"""What an exchange leaves behind in the series, in the log and in traces."""

import logging
from typing import TYPE_CHECKING

from starlette.types import Scope

from service.http.exchange import OTHER_ROUTE, Exchange
from service.http.problems import problem_of
from service.inference.pipeline import Prediction
from service.serving.guard import Guard
from service.watch.metrics import Metrics

if TYPE_CHECKING:
    from service.watch.spans import RequestSpan, Traces

# What is counted where the exchange ended before an answer began.
UNANSWERED = 499

_log = logging.getLogger(__name__)
_request_log = logging.getLogger("service.request")


def begin_span(exchange: Exchange, scope: Scope, traces: "Traces") -> None:
    """Begin the span of an exchange; what probes and Prometheus ask in passing has none."""
    if exchange.is_public:
        return
    span = traces.begin(
        method=scope["method"],
        scheme=scope["scheme"],
        path=scope["path"],
        route=None if exchange.route == OTHER_ROUTE else exchange.route,
        started_at=exchange.started_at,
        caller=exchange.trace,
        tracestate=[value.decode("latin-1") for name, value in scope["headers"] if name == b"tracestate"],
    )
    exchange.trace = span.trace
    exchange.span = span if span.is_recording else None


def record_stage(
    stage: str, started_at: float, seconds: float, exchange: Exchange, metrics: Metrics, index: int = 0
) -> None:
    """Record that image *index* spent *seconds* in *stage*, from *started_at* of `time.monotonic`.

    Of many images in one exchange the log and the answer tell the slowest.
    """
    metrics.stage(stage, seconds)
    exchange.stage_seconds[stage] = max(seconds, exchange.stage_seconds.get(stage, 0.0))
    if exchange.span is not None:
        exchange.span.note(stage, started_at, seconds, {"mos.index": index})


def record_prediction(
    prediction: Prediction, guard: Guard, exchange: Exchange, metrics: Metrics, index: int = 0
) -> None:
    """Record a verdict of *guard* on image *index* that is given to the caller, and where its time went."""
    metrics.verdict(prediction.verdict)
    guard.note(prediction.verdict)
    queued_at = prediction.inference_started_at - prediction.queue_seconds
    begun_at = queued_at - prediction.decode_seconds
    record_stage("decode", begun_at, prediction.decode_seconds, exchange, metrics, index)
    record_stage("queue", queued_at, prediction.queue_seconds, exchange, metrics, index)
    record_stage("inference", prediction.inference_started_at, prediction.inference_seconds, exchange, metrics, index)


def record_problem(error: Exception, exchange: Exchange, metrics: Metrics) -> None:
    """Count an error that is told to the caller, and log what nobody outside may see of it."""
    problem = problem_of(error)
    if exchange.asks_for_verdicts:  # a probe that hears that it is too early, or a label, was refused no verdict
        metrics.rejected(problem.code)
    if problem.status == 500:
        _log.error("%s", problem.title, exc_info=error, extra={"fields": _identity(exchange)})


def record_exchange(exchange: Exchange, method: str, metrics: Metrics) -> None:
    """Count an exchange that has ended, write its one line, and end its span."""
    trace = exchange.trace
    kept_trace_id = trace.trace_id if trace is not None and trace.is_sampled else None
    metrics.request(exchange.route, exchange.status, exchange.seconds, kept_trace_id)
    _log_exchange(exchange, method)
    if exchange.span is not None:
        _end_span(exchange.span, exchange)


def milliseconds(seconds: float) -> float:
    """Return *seconds* in milliseconds, as precisely as anybody reads them."""
    return round(1000 * seconds, 3)


def _log_exchange(exchange: Exchange, method: str) -> None:
    level = _level(exchange)
    if not _request_log.isEnabledFor(level):
        return
    fields = _identity(exchange) | {
        "http.request.method": method,
        "http.route": exchange.route,
        "http.response.status_code": exchange.status,
        "duration_ms": milliseconds(exchange.seconds),
    }
    fields |= {f"{stage}_ms": milliseconds(seconds) for stage, seconds in exchange.stage_seconds.items()}
    _request_log.log(level, "request", extra={"fields": fields | exchange.log_fields})


def _identity(exchange: Exchange) -> dict[str, object]:
    """Return what a line is found by: the id of its request, and its trace."""
    fields: dict[str, object] = {"request_id": exchange.request_id}
    return fields if exchange.trace is None else fields | exchange.trace.log_fields


def _end_span(span: "RequestSpan", exchange: Exchange) -> None:
    """End the span of an exchange; what no convention has a name for is called as in the log, with a prefix."""
    own = {"request_id": exchange.request_id, **exchange.log_fields}
    attributes: dict[str, str | float] = {f"mos.{name}": value for name, value in own.items()}
    if exchange.status != UNANSWERED:
        attributes["http.response.status_code"] = exchange.status
    is_error = exchange.status == UNANSWERED or exchange.status >= 500  # other 4xx are the caller's error
    if is_error:
        attributes["error.type"] = exchange.log_fields.get("code", str(exchange.status))
    span.end(attributes, is_error=is_error)


def _level(exchange: Exchange) -> int:
    if exchange.is_public:
        return logging.DEBUG
    return logging.ERROR if exchange.status == 500 else logging.INFO
