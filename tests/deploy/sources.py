"""What the tests of deploy/ share: where the files are, how PromQL is read, which series the service exports."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from service.watch.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
}
RULES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))

# Of NVIDIA's DCGM exporter, which deploy/compose.gpu.yml starts; among those that it exports by default.
GPU_SERIES = {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"}

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
# What stands in an expression and is neither a function nor a series.
_KEYWORDS = {"and", "or", "unless", "offset", "bool", "by", "on", "ignoring", "group_left", "group_right"}
_STRINGS = re.compile(r'"[^"]*"')
_LABELS = re.compile(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAMES = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])")


def read_yaml(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    """Every recording and alerting rule."""
    return [rule for path in RULES for group in read_yaml(path)["groups"] for rule in group["rules"]]


def series_in(expression: str) -> set[str]:
    """The names of the series that a PromQL expression reads."""
    bare = _LABELS.sub(" ", _STRINGS.sub('""', expression))
    return set(_NAMES.findall(bare)) - _KEYWORDS


def exported_series_in(expression: str) -> set[str]:
    """The names of the series that an expression reads in the end, through any number of recording rules."""
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    names = series_in(expression)
    while through := names & recorded.keys():
        names = (names - through).union(*(series_in(recorded[name]) for name in through))
    return names


def known_series() -> set[str]:
    """What an expression may read: the service's own series, its process's, the rules', Prometheus's and the GPU's."""
    registry = CollectorRegistry()
    Metrics(registry)
    ProcessCollector(registry=registry)
    exported = {family.name + suffix for family in registry.collect() for suffix in _SUFFIXES[family.type]}
    return exported | {rule["record"] for rule in rules() if "record" in rule} | {"up", "ALERTS"} | GPU_SERIES


class Query(NamedTuple):
    """A question that a dashboard asks Prometheus, and where it stands."""

    dashboard: str
    place: str  # a panel's title, or the name of an annotation
    expression: str  # with Grafana's variables in it
    labels: frozenset[str] = frozenset()  # that the legend or the table shows

    def sent(self, variables: Mapping[str, str]) -> str:
        """The expression as Grafana sends it, with a value for each variable."""
        expression = self.expression
        for name, value in variables.items():
            expression = expression.replace(f"${name}", value)
        return expression


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard, without the rows that part them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Every query of every panel and annotation of the dashboards."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            columns = {column for step in panel.get("transformations", []) for column in step["options"]["indexByName"]}
            for target in panel["targets"]:
                yield Query(name, panel["title"], target["expr"], _shown(target["legendFormat"]) | columns)
        for annotation in dashboard["annotations"]["list"]:
            if "expr" in annotation:
                yield Query(name, annotation["name"], annotation["expr"], _shown(annotation["textFormat"]))


def _shown(text: str) -> frozenset[str]:
    """The labels that a legend or a text names."""
    return frozenset(re.findall(r"\{\{(\w+)\}\}", text))


def run(*command: str | Path) -> str:
    """Run *command* and return what it printed; fails with that where it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
