"""Every series of the service, its buckets and labels, in one place; the registry is passed in.

Prefix `mos_`, base units, and labels with few values only: routes and error codes from the tables of `service.http`,
groups and the model from the bundle. `metrics.py` fills them.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

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


class RequestSeries:
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
            "mos_rejected",
            "Images, and requests for verdicts, answered with a problem, by its code.",
            ["reason"],
            registry=registry,
        )


class StageSeries:
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
            "Time in which the engine ran batches, canaries included: its rate is the engine's utilisation. Of runs "
            "that may go side by side each counts by its share.",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "mos_queue_depth", "Images that are being decoded or wait for the engine.", registry=registry
        )


class VerdictSeries:
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
        self.others_score = OthersScores(registry)


class OthersScores(Collector):
    """A histogram a group, counted together: one by one a thousand groups would cost more than the verdict."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows: dict[str, int] = {}  # by group, into the arrays
        self._counts = np.zeros((0, len(OTHERS_SCORES) + 1), np.int64)  # (K, edges and infinity)
        self._sums = np.zeros(0)  # (K,)
        registry.register(self)

    def add_groups(self, names: Sequence[str]) -> None:
        """Begin the series of groups that have none yet."""
        for name in names:
            self._rows.setdefault(name, len(self._rows))
        new = len(self._rows) - len(self._sums)
        self._counts = np.pad(self._counts, ((0, new), (0, 0)))
        self._sums = np.pad(self._sums, (0, new))

    def observe(self, others_scores: Mapping[str, float]) -> None:
        """Count one verdict's p(others) of each group."""
        rows = [self._rows[group] for group in others_scores]
        scores = np.fromiter(others_scores.values(), np.float64, len(rows))
        self._counts[rows, np.searchsorted(OTHERS_SCORES, scores)] += 1
        self._sums[rows] += scores

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Tell every group's histogram."""
        family = HistogramMetricFamily("mos_others_score", "p(others) of each group in each verdict.", labels=["group"])
        edges = [*map(floatToGoString, OTHERS_SCORES), "+Inf"]
        for group, row in self._rows.items():
            cumulated = self._counts[row].cumsum().tolist()
            family.add_metric([group], list(zip(edges, cumulated, strict=True)), float(self._sums[row]))
        yield family


class ModelSeries:
    """What is served, what its calibration promises, and whether it still is what it was."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.threshold = Gauge(
            "mos_threshold",
            "Scores at or above this are in, except in groups with thresholds of their own; NaN until calibrated.",
            registry=registry,
        )
        self.expected_in_ratio = Gauge(
            "mos_expected_in_ratio", "Share of images that calibration promises to let pass.", registry=registry
        )
        self.expected_in_ratio_bound = Gauge(
            "mos_expected_in_ratio_bound",
            "Least and largest share of images that calibration and the share of strangers make expected to pass.",
            ["side"],
            registry=registry,
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
        bounds = [self.expected_in_ratio_bound.labels(side) for side in ("low", "high")]
        for gauge in (self.threshold, self.expected_in_ratio, *bounds, self.canary_deviation):
            gauge.set(math.nan)  # 0 would be a number, and a wrong one


class ProcessSeries:
    """How the process does beside what is asked of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loop_lag = Histogram(
            "mos_event_loop_lag_seconds",
            "How much later than due a timer of the event loop was served, four times a second: probes wait as long.",
            buckets=DURATION_SECONDS,
            registry=registry,
        )


class DriftSeries:
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


class SwapSeries:
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


class FeedbackSeries:
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


class DroppedLines(Collector):
    """Counts that the logs keep: the threads that write them know no series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counts: dict[str, Callable[[], float]] = {}
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Ask every log for its count."""
        family = CounterMetricFamily(
            "mos_log_lines_dropped",
            "Lines that a blocked, full or broken disk has cost; of `feedback` the sender heard that, and has them.",
            labels=["log"],
        )
        for log, count in self.counts.items():
            family.add_metric([log], count())
        yield family
