"""The series have the names, labels and buckets that dashboards and alerts rely on."""

import math
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from service.watch.drift import DriftState
from service.watch.metrics import Metrics
from service.watch.series import DURATION_SECONDS, OTHERS_SCORES, SCORES, STAGES
from tests.service.watch.parts import VERDICT

INFO = {"name": "tiny", "version": "1", "model_sha256": "ab", "provider": "cpu", "precision": "float32"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    metrics = Metrics(registry)
    metrics.describe_model(INFO, groups=["warm", "cool"], decided_by="mos+knn")
    return metrics


def test_every_series_of_the_contract_is_there(metrics: Metrics) -> None:
    """Names and labels are those that the design fixes."""
    metrics.describe_calibration(-0.9, 0.95, (0.94, 0.97))
    metrics.at_each_scrape(queue_depth=lambda: 3, ready=lambda: 1, engine_lost_seconds=lambda: 0, drift=dict)
    metrics.request("/predict", 200, 0.02)
    metrics.rejected("corrupt_image")
    for stage in STAGES:
        metrics.stage(stage, 0.001)
    metrics.batch(4, 0.01)
    metrics.verdict(VERDICT)
    metrics.canary(0.0)
    metrics.describe_feedback()
    families = {family.name: family for family in text_string_to_metric_families(metrics.text()[0].decode())}
    labels = {
        name: {label for sample in family.samples for label in sample.labels} - {"le"}
        for name, family in families.items()
        if not name.endswith("_created")
    }
    assert labels == {
        "mos_requests": {"route", "code"},
        "mos_predictions": {"decision", "group"},
        "mos_rejected": {"reason"},
        "mos_request_duration_seconds": {"route"},
        "mos_stage_duration_seconds": {"stage"},
        "mos_batch_size": set(),
        "mos_queue_depth": set(),
        "mos_score": set(),
        "mos_p_value": set(),
        "mos_others_score": {"group"},
        "mos_engine_seconds": set(),
        "mos_drift_cusum": {"kind"},
        "mos_drift_limit": {"kind"},
        "mos_drift_alarm": {"kind"},
        "mos_bundle_reloads": {"outcome"},
        "mos_bundle_last_reload_ok": set(),
        "mos_threshold": set(),
        "mos_expected_in_ratio": set(),
        "mos_expected_in_ratio_bound": {"side"},
        "mos_ready": set(),
        "mos_engine_lost_seconds": set(),
        "mos_event_loop_lag_seconds": set(),
        "mos_canary_deviation": set(),
        "mos_model_info": {"name", "version", "model_sha256", "provider", "precision"},
        "mos_decision_info": {"statistic"},
        "mos_feedback": {"label", "decision"},
        "mos_feedback_classes": {"agrees"},
        "mos_feedback_corrections": set(),
        "mos_log_lines_dropped": {"log"},
    }


def test_openmetrics_has_the_trace_of_a_request_and_the_plain_format_has_not(metrics: Metrics) -> None:
    """Who accepts it gets it; an exemplar in the other format would be a line that no scraper reads."""
    metrics.request("/predict", 200, 0.02, "4bf92f3577b34da6a3ce929d0e0e4736")
    metrics.request("/predict", 200, 0.2)
    text, media_type = metrics.text("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert media_type.startswith("application/openmetrics-text;")
    assert text.count(b'# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.02') == 1
    assert text.endswith(b"# EOF\n")
    plain, media_type = metrics.text("text/plain;version=what")
    assert media_type.startswith("text/plain; version=0.0.4")
    assert b"trace_id" not in plain


def test_openmetrics_is_what_its_own_parser_takes(metrics: Metrics) -> None:
    """A verdict counted, whose score is below 0; no series is lost by it."""
    metrics.verdict(VERDICT)
    text, _ = metrics.text("application/openmetrics-text;version=1.0.0")
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text.decode())}
    plain, _ = metrics.text("")
    assert families.keys() >= {"mos_score", "mos_others_score", "mos_predictions"}
    [every] = [one.value for one in families["mos_score"].samples if one.labels.get("le") == "+Inf"]
    assert every == 1
    assert b"\nmos_score_count 1.0\n" in plain


def test_the_statistic_that_decides_is_named(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Whoever reads mos_score and mos_threshold can tell of what they are."""
    assert registry.get_sample_value("mos_decision_info", {"statistic": "mos+knn"}) == 1


def test_another_model_takes_the_place_of_the_one_before(metrics: Metrics, registry: CollectorRegistry) -> None:
    """At each moment one model and one statistic are named; what the groups before have counted stays."""
    metrics.verdict(VERDICT)
    metrics.describe_model(INFO | {"version": "2"}, groups=["all"], decided_by="mos")
    families = {family.name: family for family in registry.collect()}
    assert [sample.labels["version"] for sample in families["mos_model_info"].samples] == ["2"]
    assert [sample.labels["statistic"] for sample in families["mos_decision_info"].samples] == ["mos"]
    metrics.verdict(VERDICT)  # of a request that the former one had accepted
    assert registry.get_sample_value("mos_predictions_total", {"decision": "in", "group": "warm"}) == 2


def test_a_refused_bundle_is_told_until_one_is_taken(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Both outcomes are there from the start, and the last one is a state that an alert can stand on."""
    assert registry.get_sample_value("mos_bundle_reloads_total", {"outcome": "refused"}) == 0
    assert registry.get_sample_value("mos_bundle_last_reload_ok") == 1
    metrics.reload("refused")
    assert registry.get_sample_value("mos_bundle_last_reload_ok") == 0
    metrics.reload("swapped")
    assert registry.get_sample_value("mos_bundle_last_reload_ok") == 1
    assert registry.get_sample_value("mos_bundle_reloads_total", {"outcome": "refused"}) == 1


def test_a_verdict_is_counted_once_in_each_of_its_series(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Decision, score and every group's others score move by one observation."""
    metrics.verdict(VERDICT)
    assert registry.get_sample_value("mos_predictions_total", {"decision": "in", "group": "warm"}) == 1
    assert registry.get_sample_value("mos_score_count") == 1
    assert registry.get_sample_value("mos_others_score_sum", {"group": "cool"}) == 0.99


def test_all_decisions_start_at_zero(metrics: Metrics, registry: CollectorRegistry) -> None:
    """A ratio of in to out can be computed before the first out."""
    assert registry.get_sample_value("mos_predictions_total", {"decision": "out", "group": "cool"}) == 0


def test_feedback_starts_at_zero_and_only_where_it_is_on(metrics: Metrics, registry: CollectorRegistry) -> None:
    """An increase shows the first label too; a service that takes none has no such series."""
    series = [("mos_feedback_total", {"label": "out", "decision": "unknown"})]
    series += [("mos_feedback_classes_total", {"agrees": "no"}), ("mos_log_lines_dropped_total", {"log": "feedback"})]
    assert [registry.get_sample_value(*one) for one in series] == [None, None, None]
    metrics.describe_feedback()
    assert [registry.get_sample_value(*one) for one in series] == [0, 0, 0]


def test_a_label_is_counted_by_its_side_and_a_class_by_its_agreement(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    """`in` and `out` say nothing about the class."""
    metrics.describe_feedback()
    metrics.feedback("out", "in", None)
    metrics.feedback("in", "in", "no")
    assert registry.get_sample_value("mos_feedback_total", {"label": "out", "decision": "in"}) == 1
    assert registry.get_sample_value("mos_feedback_total", {"label": "in", "decision": "in"}) == 1
    assert registry.get_sample_value("mos_feedback_classes_total", {"agrees": "no"}) == 1
    assert registry.get_sample_value("mos_feedback_classes_total", {"agrees": "yes"}) == 0


def test_what_is_not_known_is_not_a_number(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Without a calibration there is no threshold of 0."""
    sides = [("mos_expected_in_ratio_bound", {"side": side}) for side in ("low", "high")]
    for name, labels in [("mos_threshold", {}), ("mos_expected_in_ratio", {}), *sides, ("mos_canary_deviation", {})]:
        value = registry.get_sample_value(name, labels)
        assert value is not None
        assert math.isnan(value)


def test_gauges_are_asked_at_each_scrape(metrics: Metrics, registry: CollectorRegistry) -> None:
    """The depth and the readiness are those of the moment."""
    waiting, state = ["an image"], DriftState(6.5, 6.0, True)
    metrics.at_each_scrape(
        queue_depth=lambda: len(waiting),
        ready=lambda: bool(waiting),
        engine_lost_seconds=lambda: 7.0 * len(waiting),
        drift=lambda: {"rejects": state} if waiting else {},
    )
    assert registry.get_sample_value("mos_drift_cusum", {"kind": "rejects"}) == 6.5
    assert registry.get_sample_value("mos_drift_limit", {"kind": "rejects"}) == 6.0
    assert registry.get_sample_value("mos_drift_alarm", {"kind": "rejects"}) == 1.0
    assert registry.get_sample_value("mos_queue_depth") == 1.0
    assert registry.get_sample_value("mos_engine_lost_seconds") == 7.0
    waiting.clear()
    assert registry.get_sample_value("mos_queue_depth") == 0.0
    assert math.isnan(registry.get_sample_value("mos_drift_alarm", {"kind": "rejects"}) or 0.0)
    assert registry.get_sample_value("mos_ready") == 0.0


def test_dropped_lines_are_asked_for_at_each_scrape(metrics: Metrics, registry: CollectorRegistry) -> None:
    """Each log keeps its own count."""
    dropped = ["a line"]
    metrics.count_dropped_lines("service", lambda: len(dropped))
    assert registry.get_sample_value("mos_log_lines_dropped_total", {"log": "service"}) == 1
    dropped.append("another")
    assert registry.get_sample_value("mos_log_lines_dropped_total", {"log": "service"}) == 2
    assert registry.get_sample_value("mos_log_lines_dropped_total", {"log": "verdicts"}) is None


def test_buckets_cover_what_they_measure() -> None:
    """Latencies from 1 ms to 10 s; MOS over all of [-1, 0], finest at both ends; sums of standardised parts."""
    assert (DURATION_SECONDS[0], DURATION_SECONDS[-1]) == (0.001, 10.0)
    assert (SCORES[0], SCORES[-1], OTHERS_SCORES[-1]) == (-30.0, 10.0, 1.0)
    for edges in (DURATION_SECONDS, SCORES, OTHERS_SCORES):
        assert list(edges) == sorted(set(edges))
    lowest, highest = SCORES.index(-1.0), SCORES.index(0.0)
    assert SCORES[lowest + 1] - SCORES[lowest] < 0.001
    assert SCORES[highest] - SCORES[highest - 1] <= 0.001
    in_distribution = [edge for edge in SCORES if -5 <= edge <= 2]
    assert max(b - a for a, b in pairwise(in_distribution)) <= 0.5


def test_two_processes_in_one_do_not_share_series() -> None:
    """The registry is the caller's, so nothing is global."""
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).batch(1, 0.01)
    Metrics(second)
    assert first.get_sample_value("mos_batch_size_count") == 1
    assert second.get_sample_value("mos_batch_size_count") == 0
