"""A real Prometheus on a free port of 127.0.0.1, with the project's rules, for tests and drills.

    with running_prometheus(folder, {"mos-guard": {"a": server.port}}, hastened_rules(folder, by=120)) as prometheus:
        [series] = prometheus.query("up")

It is the binary of Debian's package `prometheus`; mark the tests that start it with `needs_prometheus`.
"""

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from tests.server_process import ended_with_the_block, free_port

RULES = sorted((Path(__file__).resolve().parents[1] / "deploy/prometheus/rules").glob("*.yml"))
START_SECONDS = 60

# The port of each replica, by its job and its label `instance`.
Targets = Mapping[str, Mapping[str, int]]

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (the Debian package of that name)"
)


class Series(NamedTuple):
    """One series of a result; an instant query gives it one sample."""

    labels: dict[str, str]
    samples: list[tuple[float, float]]  # Unix time in seconds, value

    @property
    def last(self) -> float:
        return self.samples[-1][1]


class Alert(NamedTuple):
    """One alert that is `pending` or `firing`."""

    name: str
    state: str
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass
class PrometheusProcess:
    """One `prometheus`, where it listens, and what it is told to do."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    configuration: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def query(self, expression: str, at: float | None = None) -> list[Series]:
        """Evaluate *expression* now, or at the Unix time *at*."""
        parameters = {"query": expression} | ({} if at is None else {"time": at})
        return [_series(row["metric"], [row["value"]]) for row in self._get("query", **parameters)["result"]]

    def query_range(self, expression: str, start: float, end: float, step_seconds: float = 1) -> list[Series]:
        """Evaluate *expression* at every step from *start* to *end*, Unix times in seconds."""
        found = self._get("query_range", query=expression, start=start, end=end, step=step_seconds)
        return [_series(row["metric"], row["values"]) for row in found["result"]]

    def label_values(self, label: str, selector: str) -> list[str]:
        """Return the values of *label* in the series that *selector* matches."""
        values: list[str] = self._get(f"label/{label}/values", **{"match[]": selector})
        return values

    def alerts(self) -> list[Alert]:
        """Return what is pending or firing now."""
        return [
            Alert(row["labels"]["alertname"], row["state"], row["labels"], row["annotations"])
            for row in self._get("alerts")["alerts"]
        ]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        return {alert.name for alert in self.alerts() if alert.state == "firing"}

    def scrape(self, targets: Targets) -> None:
        """Scrape *targets* from now on, and nothing else: a replica that starts again has another port."""
        content = yaml.safe_load(self.configuration.read_text(encoding="utf-8"))
        self.configuration.write_text(yaml.safe_dump(content | _scrape_configs(targets)), encoding="utf-8")
        self.reload()

    def reload(self) -> None:
        """Read the configuration and the rules again; fails where Prometheus refuses them."""
        response = httpx.post(f"{self.url}/-/reload", timeout=30)
        assert response.status_code == 200, response.text

    def wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at:
            assert self.process.poll() is None, f"Prometheus exited: {self.log.read_text()}"
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/-/ready", timeout=30).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"Prometheus never became ready: {self.log.read_text()}")

    def _get(self, path: str, **parameters: object) -> Any:
        response = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert response.status_code == 200, f"{parameters}: {response.text}"
        return response.json()["data"]


def _series(labels: dict[str, str], samples: Sequence[tuple[float, str]]) -> Series:
    return Series(labels, [(moment, float(value)) for moment, value in samples])


def _scrape_configs(targets: Targets) -> dict[str, Any]:
    """Return the part of the configuration that names *targets*."""
    jobs = [
        {
            "job_name": job,
            "static_configs": [
                {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": instance}}
                for instance, port in replicas.items()
            ],
        }
        for job, replicas in targets.items()
    ]
    return {"scrape_configs": jobs}


@contextlib.contextmanager
def running_prometheus(
    folder: Path, targets: Targets, rule_files: Sequence[Path] = (), *, interval_seconds: int = 1
) -> Iterator[PrometheusProcess]:
    """Start Prometheus with its data in *folder*; it scrapes and evaluates every *interval_seconds*.

    It is ready when the block begins, and ended with it.
    """
    port = free_port()
    configuration = folder / f"prometheus-{port}.yml"
    every = {"scrape_interval": f"{interval_seconds}s", "evaluation_interval": f"{interval_seconds}s"}
    content = {"global": every, "rule_files": [str(path) for path in rule_files]} | _scrape_configs(targets)
    configuration.write_text(yaml.safe_dump(content), encoding="utf-8")
    log = folder / f"prometheus-{port}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / f'prometheus-{port}'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--web.enable-lifecycle",
            ],
            stdout=sink,
            stderr=sink,
        )
    with ended_with_the_block(process):
        prometheus = PrometheusProcess(process, port, log, configuration)
        prometheus.wait_until_ready()
        yield prometheus


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"\b(\d+)([smhd])\b")
# A rate needs two samples, which one second between scrapes gives to any window of three.
SHORTEST_WINDOW_SECONDS = 4


def hastened(expression: str, by: float) -> str:
    """Return a PromQL expression with every duration divided by *by*, but none below the shortest window.

    What takes an hour in production is then seen in a test: by 120, 1h becomes 30s and 5m becomes 4s. Counts, such as
    the least number of verdicts that an alert asks for, stay as they are.
    """
    return _DURATION.sub(lambda found: f"{max(SHORTEST_WINDOW_SECONDS, round(_seconds(found) / by))}s", expression)


def _seconds(duration: re.Match[str]) -> int:
    return int(duration[1]) * _SECONDS[duration[2]]


def hastened_rules(folder: Path, by: float) -> list[Path]:
    """Write the project's rule files to *folder*, hastened: windows, waits (`for`) and intervals; return the copies."""
    copies = []
    for path in RULES:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for group in content["groups"]:
            group.pop("interval", None)  # that of the whole Prometheus, which is shorter
            for rule in group["rules"]:
                rule["expr"] = hastened(rule["expr"], by)
                if "for" in rule:
                    rule["for"] = _DURATION.sub(lambda found: f"{round(_seconds(found) / by)}s", rule["for"])
        copies.append(folder / path.name)
        copies[-1].write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return copies
