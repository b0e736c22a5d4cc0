"""The dashboards and their provisioning; tests/e2e/test_dashboards.py asks their queries of a real Prometheus."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.sources import DASHBOARDS, ROOT, known_series, panels, queries, read_yaml, rules, run, series_in

GRAFANA = ROOT / "deploy/grafana"
PROVISIONING = GRAFANA / "provisioning"
PANELS = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in panels(dashboard)]
VALUES = {"__rate_interval": "1m", "job": "mos-guard", "instance": ".+"}
HOME = "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
# The kinds of panel that show numbers.
HAS_UNIT = ("timeseries", "stat", "bargauge")

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=list(DASHBOARDS))
each_panel = pytest.mark.parametrize(
    "panel",
    [panel for _, panel in PANELS],
    ids=[f"{name}-{panel['title']}".replace(" ", "-") for name, panel in PANELS],
)


def _variables(dashboard: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def test_there_is_one_dashboard_for_the_service_and_one_for_the_guard() -> None:
    """What the service does and what it says are looked at by different people at different times."""
    assert list(DASHBOARDS) == ["guard", "service"]


def test_every_expression_parses(promtool: str, tmp_path: Path) -> None:
    """promtool reads each expression as that of a rule."""
    recorded = [{"record": f"panel:{i}", "expr": query.sent(VALUES)} for i, query in enumerate(queries())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}), encoding="utf-8")
    assert f"{len(recorded)} rules found" in run(promtool, "check", "rules", path)


@pytest.mark.parametrize("expression", sorted({query.sent(VALUES) for query in queries()}))
def test_an_expression_reads_only_series_that_exist(expression: str) -> None:
    """A misspelt name would be an empty panel. A constant, drawn as a line, reads none."""
    assert series_in(expression) or expression.startswith("vector(")
    assert series_in(expression) <= known_series()


def test_every_series_of_the_service_is_looked_at() -> None:
    """A series that no panel and no rule reads is one that nobody would miss, or a panel that was forgotten."""
    asked = " ".join([*(query.expression for query in queries()), *map(str, (rule["expr"] for rule in rules()))])
    exported = {name for name in known_series() if name.startswith("mos_")}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported}
    assert {family for family in families if family not in asked} == set()


@each_dashboard
def test_no_unknown_variable_is_left(dashboard: dict[str, Any]) -> None:
    """What begins with $ is a variable of the dashboard or of Grafana."""
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
    assert used <= _variables(dashboard).keys() | {"__rate_interval", "__all"}


@each_dashboard
def test_the_variables_are_those_that_a_link_carries_over(dashboard: dict[str, Any]) -> None:
    """The data source, the job and the replica are chosen in one dashboard and stay chosen in the other."""
    assert {"datasource", "job", "instance"} <= _variables(dashboard).keys()
    assert _variables(dashboard)["datasource"]["query"] == "prometheus"


@each_dashboard
def test_the_dashboards_lead_to_each_other(dashboard: dict[str, Any]) -> None:
    """One link each, to the other's uid, with the time range and the variables."""
    [link] = dashboard["links"]
    [other] = [found for found in DASHBOARDS.values() if found is not dashboard]
    assert link["url"] == f"/d/{other['uid']}"
    assert link["keepTime"]
    assert link["includeVars"]


@each_panel
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """Each panel has a description, and a unit where it shows numbers."""
    assert len(panel["description"]) > 40
    if panel["type"] in HAS_UNIT:
        assert panel["fieldConfig"]["defaults"]["unit"]


@each_panel
def test_a_panel_asks_the_chosen_data_source(panel: dict[str, Any]) -> None:
    """The data source is a variable, so that the dashboard can be imported anywhere."""
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@each_panel
def test_the_queries_of_a_panel_can_be_told_apart(panel: dict[str, Any]) -> None:
    """Grafana keeps one query of each refId; a legend names each line where there are several."""
    targets = panel["targets"]
    assert len({target["refId"] for target in targets}) == len(targets)
    assert len({target["legendFormat"] for target in targets}) == len(targets)


@each_panel
def test_what_a_panel_overrides_is_in_its_legend(panel: dict[str, Any]) -> None:
    """A colour for a line that no query draws would be lost without a word."""
    legends = [target["legendFormat"] for target in panel["targets"]]
    for override in panel["fieldConfig"]["overrides"]:
        pattern = override["matcher"]["options"].strip("/")
        assert any(re.search(pattern, legend) or "{{" in legend for legend in legends)


@each_dashboard
def test_panels_have_their_own_ids_and_places(dashboard: dict[str, Any]) -> None:
    """Grafana drops one of two panels with the same id, and draws overlapping ones over each other."""
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("service", ["At a glance", "Rate and errors", "Latency", "Batching and saturation", "GPU", "Health"]),
        ("guard", ["At a glance", "Decisions", "Scores", "P-values", "Drift", "Feedback", "Bundle"]),
    ],
)
def test_the_rows_are_there(name: str, rows: list[str]) -> None:
    """The dashboards answer: how the service does, and what the guard says and whether it may be believed."""
    assert [panel["title"] for panel in DASHBOARDS[name]["panels"] if panel["type"] == "row"] == rows


def test_the_provisioning_fits_the_composition() -> None:
    """The data source is the composed Prometheus, and the dashboards are looked for where they are mounted."""
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    [source] = read_yaml(PROVISIONING / "datasources/prometheus.yml")["datasources"]
    [provider] = read_yaml(PROVISIONING / "dashboards/mos-guard.yml")["providers"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert "prometheus" in services
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in services["grafana"]["volumes"]


def test_the_first_thing_to_see_is_a_dashboard_that_exists() -> None:
    """Grafana's home is one of the files, under the path where they are mounted."""
    home = Path(read_yaml(ROOT / "docker-compose.yml")["services"]["grafana"]["environment"][HOME])
    [provider] = read_yaml(PROVISIONING / "dashboards/mos-guard.yml")["providers"]
    assert home.parent == Path(provider["options"]["path"])
    assert home.stem in DASHBOARDS
