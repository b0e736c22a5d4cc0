"""What an exchange leaves behind in the series and in the log."""

import logging

from service.http.exchange import Exchange
from service.http.problems import problem_of
from service.inference.pipeline import Prediction
from service.serving.guard import Guard
from service.watch.metrics import Metrics

_log = logging.getLogger(__name__)
_request_log = logging.getLogger("service.request")


def record_stage(stage: str, seconds: float, exchange: Exchange, metrics: Metrics) -> None:
    """Record that an image spent *seconds* in *stage*; of many images in one exchange the slowest is told."""
    metrics.stage(stage, seconds)
    exchange.stage_seconds[stage] = max(seconds, exchange.stage_seconds.get(stage, 0.0))


def record_prediction(prediction: Prediction, guard: Guard, exchange: Exchange, metrics: Metrics) -> None:
    """Record a verdict of *guard* that is given to the caller, and where its time went."""
    metrics.verdict(prediction.verdict)
    guard.note(prediction.verdict)
    record_stage("decode", prediction.decode_seconds, exchange, metrics)
    record_stage("queue", prediction.queue_seconds, exchange, metrics)
    record_stage("inference", prediction.inference_seconds, exchange, metrics)


def record_problem(error: Exception, exchange: Exchange, metrics: Metrics) -> None:
    """Count an error that is told to the caller, and log what nobody outside may see of it."""
    problem = problem_of(error)
    if exchange.asks_for_verdicts:  # a probe that hears that it is too early, or a label, was refused no verdict
        metrics.rejected(problem.code)
    if problem.status == 500:
        _log.error("%s", problem.title, exc_info=error, extra={"fields": {"request_id": exchange.request_id}})


def record_exchange(exchange: Exchange, method: str, metrics: Metrics) -> None:
    """Count an exchange that has ended, and write its one line."""
    metrics.request(exchange.route, exchange.status, exchange.seconds)
    level = _level(exchange)
    if not _request_log.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "request_id": exchange.request_id,
        "method": method,
        "route": exchange.route,
        "status": exchange.status,
        "duration_ms": milliseconds(exchange.seconds),
    }
    fields |= {f"{stage}_ms": milliseconds(seconds) for stage, seconds in exchange.stage_seconds.items()}
    _request_log.log(level, "request", extra={"fields": fields | exchange.log_fields})


def milliseconds(seconds: float) -> float:
    """Return *seconds* in milliseconds, as precisely as anybody reads them."""
    return round(1000 * seconds, 3)


def _level(exchange: Exchange) -> int:
    if exchange.is_public:
        return logging.DEBUG
    return logging.ERROR if exchange.status == 500 else logging.INFO
