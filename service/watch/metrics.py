"""Every series of the service, its buckets and labels, in one place; the registry is passed in.

Prefix `mos_`, base units, and labels with few values only: routes and error codes from the tables in api.py, groups and
the model from the bundle. Durations are differences of a monotonic clock, taken by the callers.
"""

import math
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from service.verdict import Verdict

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
STAGES = ("read", "decode", "queue", "inference")

# From 1 ms to 10 s, three edges a decade, and two more where service levels usually lie (50 ms and 250 ms are there).
DURATION_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
# Scores are in [-1, 0]. In-distribution ones crowd at 0, others near -1, and thresholds lie in either crowd's tail,
# so the edges are dense at both ends.
SCORES = (
    *(-1.0, -0.9999, -0.999, -0.995, -0.99, -0.98, -0.97, -0.95, -0.925, -0.9, -0.85, -0.8, -0.7, -0.6, -0.5),
    *(-0.4, -0.3, -0.2, -0.15, -0.1, -0.05, -0.02, -0.01, -0.001, 0.0),
)
OTHERS_SCORES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


class Metrics:
    """The series of one process; children of labelled series are looked up once and kept."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter("mos_requests", "Requests answered.", ["route", "code"], registry=registry)
        self._request_duration = Histogram(
            "mos_request_duration_seconds",
            "Time from the headers of a request to its answer.",
            ["route"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "mos_rejected", "Images and requests answered with a problem, by its code.", ["reason"], registry=registry
        )
        self._predictions = Counter(
            "mos_predictions",
            "Verdicts given, by decision and predicted group.",
            ["decision", "group"],
            registry=registry,
        )
        stage_duration = Histogram(
            "mos_stage_duration_seconds",
            "Time an image spent in one stage.",
            ["stage"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self._stages = {stage: stage_duration.labels(stage) for stage in STAGES}
        self._batch_size = Histogram(
            "mos_batch_size",
            "Images in one run of the model, canaries included.",
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self._queue_depth = Gauge(
            "mos_queue_depth", "Images that are being decoded or wait for the engine.", registry=registry
        )
        self._score = Histogram(
            "mos_score",
            "Score of each verdict: -min over the groups of p(others); higher is in-distribution.",
            buckets=SCORES,
            registry=registry,
        )
        self._others_score = Histogram(
            "mos_others_score",
            "p(others) of each group in each verdict.",
            ["group"],
            buckets=OTHERS_SCORES,
            registry=registry,
        )
        self._threshold = Gauge(
            "mos_threshold", "Scores at or above this are in; NaN until calibrated.", registry=registry
        )
        self._expected_in_ratio = Gauge(
            "mos_expected_in_ratio", "Share of in-distribution images that calibration lets pass.", registry=registry
        )
        self._ready = Gauge("mos_ready", "1 while /health/ready answers 200, else 0.", registry=registry)
        self._canary_deviation = Gauge(
            "mos_canary_deviation", "Largest difference of a canary's scores from the expected ones.", registry=registry
        )
        self._model_info = Gauge(
            "mos_model_info",
            "1, with the model served and the execution provider really in use.",
            ["name", "version", "model_sha256", "provider", "precision"],
            registry=registry,
        )
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._duration_children: dict[str, Histogram] = {}
        self._prediction_children: dict[tuple[str, str], Counter] = {}
        self._others_children: list[Histogram] = []
        for gauge in (self._threshold, self._expected_in_ratio, self._canary_deviation):
            gauge.set(math.nan)  # 0 would be a number, and a wrong one

    def describe_model(self, info: Mapping[str, str], groups: list[str]) -> None:
        """Name the model that is served; *groups* in manifest order."""
        self._model_info.labels(**info).set(1)
        self._others_children = [self._others_score.labels(group) for group in groups]
        for decision in ("in", "out"):
            for group in groups:
                self._prediction_children[decision, group] = self._predictions.labels(decision, group)

    def describe_calibration(self, threshold: float, tpr: float) -> None:
        """State the threshold and the share of in-distribution images expected at or above it."""
        self._threshold.set(threshold)
        self._expected_in_ratio.set(tpr)

    def watch(self, *, queue_depth: Callable[[], float], ready: Callable[[], float]) -> None:
        """Take the depth of the queue and the readiness at each scrape."""
        self._queue_depth.set_function(queue_depth)
        self._ready.set_function(ready)

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count one answered request; *route* must be of a bounded set."""
        counter = self._request_children.get((route, code))
        if counter is None:
            counter = self._request_children[route, code] = self._requests.labels(route, str(code))
            self._duration_children[route] = self._request_duration.labels(route)
        counter.inc()
        self._duration_children[route].observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count one problem by its code."""
        self._rejected.labels(reason).inc()

    def stage(self, stage: str, seconds: float) -> None:
        """Time one stage of one image."""
        self._stages[stage].observe(seconds)

    def batch(self, size: int) -> None:
        """Record the size of a batch that ran."""
        self._batch_size.observe(size)

    def verdict(self, verdict: Verdict) -> None:
        """Record one verdict that is given to a caller."""
        self._prediction_children[verdict.decision, verdict.group].inc()
        self._score.observe(verdict.score)
        for child, others_score in zip(self._others_children, verdict.others_scores.values(), strict=True):
            child.observe(others_score)

    def canary(self, deviation: float) -> None:
        """Record how far the canaries are from what is expected of them."""
        self._canary_deviation.set(deviation)

    def text(self) -> bytes:
        """Return every series in the Prometheus text format."""
        return generate_latest(self._registry)
