"""The scrape configuration, the rules, and the rules' own tests."""

import re

import pytest

from service.http.problems import PROBLEMS
from tests.deploy.sources import ROOT, known_series, read_yaml, rules, run, series_in

PROMETHEUS = ROOT / "deploy/prometheus"
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS = [rule for rule in rules() if "alert" in rule]


def test_the_configuration_and_its_rules_are_valid(promtool: str) -> None:
    """Prometheus would start with these files."""
    assert "SUCCESS" in run(promtool, "check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_the_rules_pass_their_unit_tests(promtool: str, path) -> None:
    """promtool finds that the alerts fire when they should and only then."""
    run(promtool, "test", "rules", path)


def test_every_alert_is_seen_firing_by_a_unit_test() -> None:
    """An alert that no test makes fire may be one that cannot."""
    samples = "".join(path.read_text(encoding="utf-8") for path in RULE_TESTS)
    fired = set(re.findall(r"labels: 'ALERTS\{alertname=\"(\w+)\", alertstate=\"firing\"", samples))
    assert fired == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(alert) -> None:
    """Whoever is woken finds a severity, a summary, a description and an action."""
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"].keys() == {"summary", "description", "action"}
    assert all(text.strip() for text in alert["annotations"].values())


def test_the_reasons_that_alerts_name_are_problem_codes() -> None:
    """A reason that the service never gives would match nothing, without a word."""
    codes = {problem.code for problem in PROBLEMS.values()}
    named = {
        reason
        for alert in ALERTS
        for matcher in re.findall(r'reason=~?"([^"]*)"', alert["expr"])
        for reason in matcher.split("|")
    }
    assert len(named) > 5
    assert all(any(re.fullmatch(reason, code) for code in codes) for reason in named)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_only_series_that_exist(rule) -> None:
    """A misspelt name is no error in PromQL: the alert would never fire."""
    assert series_in(rule["expr"])
    assert series_in(rule["expr"]) <= known_series()


def test_the_scrape_asks_the_composed_service() -> None:
    """The target is the service of docker-compose.yml under the job name that the alerts select."""
    jobs = {job["job_name"]: job for job in read_yaml(PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    assert jobs["mos-guard"]["static_configs"] == [{"targets": ["service:8000"]}]
    assert "service" in read_yaml(ROOT / "docker-compose.yml")["services"]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (job, le) (rate(mos_score_bucket{job="a:b"}[5m]))', {"mos_score_bucket"}),
        (
            "a:b:c1h / on (job) group_left () up > 0.5 and time() - x offset 10m",
            {"a:b:c1h", "up", "x"},
        ),
    ],
)
def test_the_names_in_an_expression_are_found(expression: str, names: set[str]) -> None:
    """The test above stands on this reading of PromQL."""
    assert series_in(expression) == names
