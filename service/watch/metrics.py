"""What is counted and timed, and told to Prometheus; `series.py` has every name, bucket and label.

Durations are differences of a monotonic clock, taken by the callers.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, exposition
from prometheus_client.openmetrics import exposition as openmetrics

from service.verdict import Verdict
from service.watch.drift import KINDS, DriftState
from service.watch.series import (
    STAGES,
    DriftSeries,
    DroppedLines,
    FeedbackSeries,
    ModelSeries,
    ProcessSeries,
    RequestSeries,
    StageSeries,
    SwapSeries,
    VerdictSeries,
)

OPEN_METRICS = "application/openmetrics-text"


class Metrics:
    """The series of one process; children of labelled series are looked up once and kept."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = RequestSeries(registry)
        self._stages = StageSeries(registry)
        self._verdicts = VerdictSeries(registry)
        self._model = ModelSeries(registry)
        self._process = ProcessSeries(registry)
        self._drift = DriftSeries(registry)
        self._swaps = SwapSeries(registry)
        self._feedback = FeedbackSeries(registry)
        self._dropped_lines = DroppedLines(registry)
        self._refused_labels = 0
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._duration_children: dict[str, Histogram] = {}
        self._stage_children = {stage: self._stages.duration.labels(stage) for stage in STAGES}
        self._prediction_children: dict[tuple[str, str], Counter] = {}

    def describe_model(self, info: Mapping[str, str], groups: list[str], decided_by: str) -> None:
        """Name the model that is served and the statistic that decides, in place of what was named before."""
        self._model.info.clear()
        self._model.info.labels(**info).set(1)
        self._model.decision_info.clear()
        self._model.decision_info.labels(decided_by).set(1)
        # Verdicts of the bundle before may still be on their way: what its groups have counted stays.
        self._verdicts.others_score.add_groups(groups)
        for group in groups:
            for decision in ("in", "out"):
                self._prediction_children[decision, group] = self._verdicts.predictions.labels(decision, group)

    def describe_calibration(self, threshold: float, expected_in_ratio: float, bounds: tuple[float, float]) -> None:
        """State the threshold, the share of images promised at or above it, and between what *bounds* it may be."""
        self._model.threshold.set(threshold)
        self._model.expected_in_ratio.set(expected_in_ratio)
        for side, bound in zip(("low", "high"), bounds, strict=True):
            self._model.expected_in_ratio_bound.labels(side).set(bound)

    def at_each_scrape(
        self,
        *,
        queue_depth: Callable[[], float],
        ready: Callable[[], float],
        engine_lost_seconds: Callable[[], float],
        drift: Callable[[], Mapping[str, DriftState]],
    ) -> None:
        """Take the depth of the queue, the state of service and engine, and that of each drift test at each scrape."""
        self._stages.queue_depth.set_function(queue_depth)
        self._model.ready.set_function(ready)
        self._model.engine_lost.set_function(engine_lost_seconds)
        for kind in KINDS:
            for name, gauge in self._drift.gauges.items():
                gauge.labels(kind).set_function(partial(_of_drift, drift, kind, name))

    def request(self, route: str, code: int, seconds: float, trace_id: str | None = None) -> None:
        """Count one answered request; *route* must be of a bounded set, and *trace_id* of a trace that is kept."""
        counter = self._request_children.get((route, code))
        if counter is None:
            counter = self._request_children[route, code] = self._requests.answered.labels(route, str(code))
            self._duration_children[route] = self._requests.duration.labels(route)
        counter.inc()
        self._duration_children[route].observe(seconds, None if trace_id is None else {"trace_id": trace_id})

    def rejected(self, reason: str) -> None:
        """Count one problem by its code."""
        self._requests.rejected.labels(reason).inc()

    def stage(self, stage: str, seconds: float) -> None:
        """Time one stage of one image."""
        self._stage_children[stage].observe(seconds)

    def batch(self, size: int, engine_seconds: float) -> None:
        """Record the size of a batch that ran, and for how long it had the whole engine."""
        self._stages.batch_size.observe(size)
        self._stages.engine.inc(engine_seconds)

    def verdict(self, verdict: Verdict) -> None:
        """Record one verdict that is given to a caller."""
        self._prediction_children[verdict.decision, verdict.group].inc()
        self._verdicts.score.observe(verdict.score)
        self._verdicts.p_value.observe(verdict.p_value)
        self._verdicts.others_score.observe(verdict.others_scores)

    def describe_feedback(self) -> None:
        """Begin the series of feedback at 0, so that an increase shows the first label too."""
        for label in ("in", "out"):
            for decision in ("in", "out", "unknown"):
                self._feedback.labels.labels(label, decision)
        for agrees in ("yes", "no", "unknown"):
            self._feedback.classes.labels(agrees)
        self.count_dropped_lines("feedback", lambda: self._refused_labels)

    def feedback(self, label: str, decision: str, agrees: str | None) -> None:
        """Count a picture's first label, `in` or `out`; *agrees* only where it was a class."""
        self._feedback.labels.labels(label, decision).inc()
        if agrees is not None:
            self._feedback.classes.labels(agrees).inc()

    def feedback_corrected(self) -> None:
        """Count a later label of a picture."""
        self._feedback.corrections.inc()

    def feedback_refused(self) -> None:
        """Count a label that could not be written."""
        self._refused_labels += 1

    def count_dropped_lines(self, log: str, count: Callable[[], float]) -> None:
        """Take the lines that *log* has dropped so far at each scrape."""
        self._dropped_lines.counts[log] = count

    def loop_lag(self, seconds: float) -> None:
        """Record by how much a timer of the event loop was late."""
        self._process.loop_lag.observe(seconds)

    def canary(self, deviation: float) -> None:
        """Record how far the canaries are from what is expected of them."""
        self._model.canary_deviation.set(deviation)

    def reload(self, outcome: Literal["swapped", "refused"]) -> None:
        """Count a bundle that was to replace the one in service."""
        self._swaps.reloads.labels(outcome).inc()
        self._swaps.last_ok.set(outcome == "swapped")

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return every series, and the media type: OpenMetrics, with exemplars, for those who accept it.

        All others get the Prometheus text format, which has no place for exemplars. The library's own choice fails on
        versions that are no numbers.
        """
        if OPEN_METRICS in accept:
            text: bytes = openmetrics.generate_latest(_OpenMetrics(self._registry))  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return exposition.generate_latest(self._registry), exposition.CONTENT_TYPE_PLAIN_0_0_4


class _OpenMetrics:
    """A registry without the count of a histogram that has no sum: OpenMetrics forbids it, and scores are below 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Return every series as that format wants it."""
        for metric in self._registry.collect():
            if metric.type == "histogram" and not any(sample.name.endswith("_sum") for sample in metric.samples):
                metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_count")]
            yield metric


def _of_drift(drift: Callable[[], Mapping[str, DriftState]], kind: str, name: str) -> float:
    """Return one number of a drift test, or NaN where no calibration has begun one."""
    state = drift().get(kind)
    if state is None:
        return math.nan
    return {"cusum": state.statistic, "limit": state.limit, "alarm": float(state.alarm)}[name]
