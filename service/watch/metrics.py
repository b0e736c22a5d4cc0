"""Every series of the service, its buckets and labels, in one place; the registry is passed in.

Prefix `mos_`, base units, and labels with few values only: routes and error codes from the tables of `service.http`,
groups and the model from the bundle. Durations are differences of a monotonic clock, taken by the callers.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from service.verdict import Verdict
from service.watch.drift import KINDS, DriftState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
STAGES = ("read", "decode", "queue", "inference")

# From 1 ms to 10 s, three edges a decade, and two more where service levels usually lie (50 ms and 250 ms are there).
DURATION_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
# One layout for every statistic, so that the histograms of replicas with different bundles can still be added up.
# Sums of standardised parts lie in about [-30, 10], in-distribution ones around 0, their thresholds a few below. MOS is
# in [-1, 0]: in-distribution images crowd at 0, others near -1, and thresholds lie in either crowd's tail, so the edges
# are dense at both ends.
SCORES = (
    *(-30.0, -20.0, -15.0, -12.0, -10.0, -8.0, -7.0, -6.0, -5.0),
    *(-4.5, -4.0, -3.5, -3.0, -2.5, -2.0, -1.75, -1.5, -1.25),
    *(-1.0, -0.9999, -0.999, -0.995, -0.99, -0.98, -0.97, -0.95, -0.925, -0.9, -0.85, -0.8, -0.7, -0.6, -0.5),
    *(-0.4, -0.3, -0.2, -0.15, -0.1, -0.05, -0.02, -0.01, -0.001, 0.0),
    *(0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
)
P_VALUES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RELOAD_OUTCOMES = ("swapped", "refused")
OTHERS_SCORES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


class _RequestSeries:
    """What is asked, and how it is answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answered = Counter("mos_requests", "Requests answered.", ["route", "code"], registry=registry)
        self.duration = Histogram(
            "mos_request_duration_seconds",
            "Time from the headers of a request to its answer.",
            ["route"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self.rejected = Counter(
            "mos_rejected", "Images and requests answered with a problem, by its code.", ["reason"], registry=registry
        )


class _StageSeries:
    """What an image goes through on its way to the model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "mos_stage_duration_seconds",
            "Time an image spent in one stage.",
            ["stage"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "mos_batch_size",
            "Images in one run of the model, canaries included.",
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self.engine = Counter(
            "mos_engine_seconds",
            "Time in which the engine ran batches, canaries included: its rate is the engine's utilisation.",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "mos_queue_depth", "Images that are being decoded or wait for the engine.", registry=registry
        )


class _VerdictSeries:
    """What the model says about the images of callers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.predictions = Counter(
            "mos_predictions",
            "Verdicts given, by decision and predicted group.",
            ["decision", "group"],
            registry=registry,
        )
        self.score = Histogram(
            "mos_score",
            "Score of each verdict, by the statistic that mos_decision_info names; higher is in-distribution.",
            buckets=SCORES,
            registry=registry,
        )
        self.p_value = Histogram(
            "mos_p_value",
            "Conformal p-value of each verdict: uniform for images like those of the calibration.",
            buckets=P_VALUES,
            registry=registry,
        )
        self.others_score = Histogram(
            "mos_others_score",
            "p(others) of each group in each verdict.",
            ["group"],
            buckets=OTHERS_SCORES,
            registry=registry,
        )


class _ModelSeries:
    """What is served, what its calibration promises, and whether it still is what it was."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.threshold = Gauge(
            "mos_threshold", "Scores at or above this are in; NaN until calibrated.", registry=registry
        )
        self.expected_in_ratio = Gauge(
            "mos_expected_in_ratio", "Share of in-distribution images that calibration lets pass.", registry=registry
        )
        self.ready = Gauge("mos_ready", "1 while /health/ready answers 200, else 0.", registry=registry)
        self.engine_lost = Gauge(
            "mos_engine_lost_seconds",
            "For how long the engine has failed without passing a check, or hung; 0 while it works.",
            registry=registry,
        )
        self.canary_deviation = Gauge(
            "mos_canary_deviation",
            "Largest difference of a canary's scores from the expected ones; a score other than MOS in its parts' "
            "deviations.",
            registry=registry,
        )
        self.info = Gauge(
            "mos_model_info",
            "1, with the model served and the execution provider really in use.",
            ["name", "version", "model_sha256", "provider", "precision"],
            registry=registry,
        )
        self.decision_info = Gauge(
            "mos_decision_info",
            "1, with the statistic that decides: mos_score and mos_threshold are of it.",
            ["statistic"],
            registry=registry,
        )
        for gauge in (self.threshold, self.expected_in_ratio, self.canary_deviation):
            gauge.set(math.nan)  # 0 would be a number, and a wrong one


class _DriftSeries:
    """Whether images still are what the calibration was made from."""

    def __init__(self, registry: CollectorRegistry) -> None:
        texts = {
            "cusum": "Statistic of a drift test since the bundle was taken into service, by this process alone.",
            "limit": "Where the statistic of a drift test raises its alarm.",
            "alarm": "1 while a drift test's alarm stands: the calibration does not hold for what comes in.",
        }
        self.gauges = {
            name: Gauge(f"mos_drift_{name}", text, ["kind"], registry=registry) for name, text in texts.items()
        }


class _SwapSeries:
    """The bundle that is taken into service in place of another."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reloads = Counter(
            "mos_bundle_reloads",
            "Bundles that were to replace the one in service, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self.last_ok = Gauge(
            "mos_bundle_last_reload_ok", "0 while the last bundle that came was refused, else 1.", registry=registry
        )
        self.last_ok.set(1)
        for outcome in RELOAD_OUTCOMES:  # from the start, so that a first one is an increase
            self.reloads.labels(outcome)


class _FeedbackSeries:
    """What operators say about verdicts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.labels = Counter(
            "mos_feedback",
            "Pictures labelled, by their first label (a class is `in`) and by what had been decided.",
            ["label", "decision"],
            registry=registry,
        )
        self.classes = Counter(
            "mos_feedback_classes",
            "Pictures whose first label is a class, by whether it is the predicted one.",
            ["agrees"],
            registry=registry,
        )
        self.corrections = Counter(
            "mos_feedback_corrections", "Labels of pictures that were labelled before.", registry=registry
        )


class _DroppedLines(Collector):
    """Counts that the logs keep: the threads that write them know no series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counts: dict[str, Callable[[], float]] = {}
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "mos_log_lines_dropped",
            "Lines that a blocked, full or broken disk has cost; of `feedback` the sender heard that, and has them.",
            labels=["log"],
        )
        for log, count in self.counts.items():
            family.add_metric([log], count())
        yield family


class Metrics:
    """The series of one process; children of labelled series are looked up once and kept."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = _RequestSeries(registry)
        self._stages = _StageSeries(registry)
        self._verdicts = _VerdictSeries(registry)
        self._model = _ModelSeries(registry)
        self._loop_lag = Histogram(
            "mos_event_loop_lag_seconds",
            "How much later than due a timer of the event loop was served, four times a second: probes wait as long.",
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self._drift = _DriftSeries(registry)
        self._swaps = _SwapSeries(registry)
        self._feedback = _FeedbackSeries(registry)
        self._dropped_lines = _DroppedLines(registry)
        self._refused_labels = 0
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._duration_children: dict[str, Histogram] = {}
        self._stage_children = {stage: self._stages.duration.labels(stage) for stage in STAGES}
        self._prediction_children: dict[tuple[str, str], Counter] = {}
        self._others_children: dict[str, Histogram] = {}

    def describe_model(self, info: Mapping[str, str], groups: list[str], decided_by: str) -> None:
        """Name the model that is served and the statistic that decides, in place of what was named before."""
        self._model.info.clear()
        self._model.info.labels(**info).set(1)
        self._model.decision_info.clear()
        self._model.decision_info.labels(decided_by).set(1)
        # Verdicts of the bundle before may still be on their way: what its groups have counted stays.
        for group in groups:
            self._others_children[group] = self._verdicts.others_score.labels(group)
            for decision in ("in", "out"):
                self._prediction_children[decision, group] = self._verdicts.predictions.labels(decision, group)

    def describe_calibration(self, threshold: float, expected_in_ratio: float) -> None:
        """State the threshold and the share of images expected at or above it."""
        self._model.threshold.set(threshold)
        self._model.expected_in_ratio.set(expected_in_ratio)

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

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count one answered request; *route* must be of a bounded set."""
        counter = self._request_children.get((route, code))
        if counter is None:
            counter = self._request_children[route, code] = self._requests.answered.labels(route, str(code))
            self._duration_children[route] = self._requests.duration.labels(route)
        counter.inc()
        self._duration_children[route].observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count one problem by its code."""
        self._requests.rejected.labels(reason).inc()

    def stage(self, stage: str, seconds: float) -> None:
        """Time one stage of one image."""
        self._stage_children[stage].observe(seconds)

    def batch(self, size: int, run_seconds: float) -> None:
        """Record the size of a batch that ran, and how long it did."""
        self._stages.batch_size.observe(size)
        self._stages.engine.inc(run_seconds)

    def verdict(self, verdict: Verdict) -> None:
        """Record one verdict that is given to a caller."""
        self._prediction_children[verdict.decision, verdict.group].inc()
        self._verdicts.score.observe(verdict.score)
        self._verdicts.p_value.observe(verdict.p_value)
        for group, others_score in verdict.others_scores.items():
            self._others_children[group].observe(others_score)

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
        self._loop_lag.observe(seconds)

    def canary(self, deviation: float) -> None:
        """Record how far the canaries are from what is expected of them."""
        self._model.canary_deviation.set(deviation)

    def reload(self, outcome: Literal["swapped", "refused"]) -> None:
        """Count a bundle that was to replace the one in service."""
        self._swaps.reloads.labels(outcome).inc()
        self._swaps.last_ok.set(outcome == "swapped")

    def text(self) -> bytes:
        """Return every series in the Prometheus text format."""
        return generate_latest(self._registry)


def _of_drift(drift: Callable[[], Mapping[str, DriftState]], kind: str, name: str) -> float:
    """Return one number of a drift test, or NaN where no calibration has begun one."""
    state = drift().get(kind)
    if state is None:
        return math.nan
    return {"cusum": state.statistic, "limit": state.limit, "alarm": float(state.alarm)}[name]
