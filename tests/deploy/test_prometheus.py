"""The scrape configuration, the rules, and the rules' own tests."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from service.http.problems import PROBLEMS
from tests.deploy.sources import ROOT, exported_series_in, known_series, read_yaml, rules, run, series_in

PROMETHEUS = ROOT / "deploy/prometheus"
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RUNBOOK = PROMETHEUS / "RUNBOOK.md"
SECTIONS = dict(
    re.findall(r"^## (\w+)\n+(.*?)(?=^## |\Z)", RUNBOOK.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
)


def test_the_configuration_and_its_rules_are_valid(promtool: str) -> None:
    """Prometheus would start with these files."""
    assert "SUCCESS" in run(promtool, "check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_the_rules_pass_their_unit_tests(promtool: str, path) -> None:
    """promtool finds that the alerts fire when they should and only then."""
    assert "SUCCESS" in run(promtool, "test", "rules", path)


class Case(NamedTuple):
    """What one unit test of the rules feeds in, and which alerts it finds firing or quiet."""

    file: str
    series: set[str]
    fires: set[str]
    quiet: set[str]


def _cases() -> list[Case]:
    cases = []
    for path in RULE_TESTS:
        for test in read_yaml(path)["tests"]:
            checks = test["promql_expr_test"]
            found = " ".join(sample["labels"] for check in checks for sample in check["exp_samples"])
            fires = set(re.findall(r'ALERTS\{alertname="(\w+)", alertstate="firing"', found))
            silent = [check["expr"] for check in checks if not check["exp_samples"]]
            named = [pattern for expr in silent for pattern in re.findall(r'ALERTS\{alertname=~?"([^"]+)"', expr)]
            quiet = {name for name in ALERTS if any(re.fullmatch(pattern, name) for pattern in named)} - fires
            series = set().union(*(series_in(given["series"]) for given in test["input_series"]))
            cases.append(Case(path.stem, series, fires, quiet))
    return cases


CASES = _cases()


@pytest.mark.parametrize("alert", ALERTS)
def test_a_unit_test_sees_the_alert_firing_and_another_sees_it_quiet(alert: str) -> None:
    """One that nothing makes fire may be unable to; one that nothing keeps quiet may cry always.

    The quiet case is in the same file and feeds in every series that the alert reads: a near case, not an empty one.
    """
    firing = {case.file for case in CASES if alert in case.fires}
    reads = exported_series_in(ALERTS[alert]["expr"])
    quiet = {case.file for case in CASES if alert in case.quiet and reads <= case.series}
    assert firing
    assert quiet & firing


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_and_what_to_do(alert: str) -> None:
    """Whoever is woken finds a severity, a summary, a description, an action and the place in the runbook."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description", "action", "runbook"}
    assert all(text.strip() for text in rule["annotations"].values())
    assert rule["annotations"]["runbook"] == f"{RUNBOOK.relative_to(ROOT)}#{alert.lower()}"


def test_the_runbook_has_a_section_for_every_alert_and_for_nothing_else() -> None:
    """The anchors that the alerts name lead somewhere, in the order of the rules."""
    assert list(SECTIONS) == list(ALERTS)


@pytest.mark.parametrize("alert", SECTIONS)
def test_a_section_of_the_runbook_is_whole(alert: str) -> None:
    """It says what the alert means, what to look at first, with a command, what to do, and when it goes quiet."""
    parts = re.split(r"^\*\*(.+?)\*\*", SECTIONS[alert], flags=re.MULTILINE)
    assert parts[1::2] == ["Means.", "Look first.", "Do.", "Quiet."]
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert all(len(text.split()) >= 4 for text in texts.values())
    assert re.search(r"^    \S", texts["Look first."], flags=re.MULTILINE)
    assert ALERTS[alert]["labels"]["severity"] in SECTIONS[alert].splitlines()[0]


def test_the_questions_of_the_runbook_parse(promtool: str, tmp_path: Path) -> None:
    """promtool reads what `ask` asks as the expressions of rules."""
    questions = re.findall(r"^    ask '(.+)'$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rules_of = [{"record": f"question:{i}", "expr": question} for i, question in enumerate(questions)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": rules_of}]}), encoding="utf-8")
    assert f"{len(questions)} rules found" in run(promtool, "check", "rules", path)


def test_the_runbook_names_only_series_that_exist() -> None:
    """A command that asks for a misspelt series would answer nothing to somebody in a hurry."""
    named = re.findall(r"\b(?:\w+:)?mos_\w+(?::\w+)?", RUNBOOK.read_text(encoding="utf-8"))
    assert len(named) > 10
    assert set(named) <= known_series()


def test_the_reasons_that_alerts_name_are_problem_codes() -> None:
    """A reason that the service never gives would match nothing, without a word."""
    codes = {problem.code for problem in PROBLEMS.values()}
    named = {
        reason
        for rule in ALERTS.values()
        for matcher in re.findall(r'reason=~?"([^"]*)"', rule["expr"])
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


def test_the_scrape_finds_the_exporter_of_the_gpu() -> None:
    """It is looked up under the name that the GPU overlay gives it, so that there is no dead target without a GPU."""
    jobs = {job["job_name"]: job for job in read_yaml(PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    [lookup] = jobs["gpu"]["dns_sd_configs"]
    [name] = lookup["names"]
    assert name in read_yaml(ROOT / "deploy/compose.gpu.yml")["services"]


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
