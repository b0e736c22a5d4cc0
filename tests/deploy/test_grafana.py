"""The dashboard and its provisioning."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.sources import ROOT, known_series, read_yaml, run, series_in

GRAFANA = ROOT / "deploy/grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards/mos-guard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def _in_prometheus(expression: str) -> str:
    """The expression as Grafana sends it."""
    for variable, value in {"$__rate_interval": "1m", "$job": "mos-guard", "$instance": ".+"}.items():
        expression = expression.replace(variable, value)
    return expression


def _expressions() -> list[str]:
    targets = [target for panel in PANELS for target in panel["targets"]]
    annotations = [annotation for annotation in DASHBOARD["annotations"]["list"] if "expr" in annotation]
    return [_in_prometheus(source["expr"]) for source in [*targets, *annotations]]


def _title(panel: dict[str, Any]) -> str:
    return panel["title"].replace(" ", "-")


def test_every_expression_parses(promtool: str, tmp_path: Path) -> None:
    """promtool reads each expression as that of a rule."""
    recorded = [{"record": f"panel:{i}", "expr": expression} for i, expression in enumerate(_expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}), encoding="utf-8")
    assert f"{len(recorded)} rules found" in run(promtool, "check", "rules", path)


@pytest.mark.parametrize("expression", _expressions())
def test_an_expression_reads_only_series_that_exist(expression: str) -> None:
    """A misspelt name would be an empty panel. A constant, drawn as a line, reads none."""
    assert series_in(expression) or expression.startswith("vector(")
    assert series_in(expression) <= known_series()


def test_no_unknown_variable_is_left() -> None:
    """What begins with $ is a variable of the dashboard or of Grafana."""
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used <= VARIABLES.keys() | {"__rate_interval", "__all"}


@pytest.mark.parametrize("panel", PANELS, ids=_title)
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """Each panel has a description, and a unit where it shows numbers on an axis."""
    assert len(panel["description"]) > 40
    if panel["type"] in ("timeseries", "stat"):
        assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("panel", PANELS, ids=_title)
def test_a_panel_asks_the_chosen_data_source(panel: dict[str, Any]) -> None:
    """The data source is a variable, so that the dashboard can be imported anywhere."""
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert VARIABLES["datasource"]["query"] == "prometheus"


def test_panels_have_their_own_ids_and_places() -> None:
    """Grafana drops one of two panels with the same id, and draws overlapping ones over each other."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_rows_are_there() -> None:
    """The dashboard answers: what comes in, how it is batched, how it is judged, how the service is."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["At a glance", "Traffic", "Batching", "Guard", "Health"]


def test_the_provisioning_fits_the_composition() -> None:
    """The data source is the composed Prometheus, and the dashboards are looked for where they are mounted."""
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    [source] = read_yaml(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]
    [provider] = read_yaml(GRAFANA / "provisioning/dashboards/mos-guard.yml")["providers"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert "prometheus" in services
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in services["grafana"]["volumes"]
