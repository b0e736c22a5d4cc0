"""Every query of both dashboards, asked of a real Prometheus that scrapes a real service under traffic."""

import itertools
import math
import random
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.deploy.sources import DASHBOARDS, GPU_SERIES, Query, queries, series_in
from tests.prometheus_process import (
    PrometheusProcess,
    hastened,
    hastened_rules,
    needs_prometheus,
    running_prometheus,
)
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import CLASSES, png, write_tiny_bundle

pytestmark = [pytest.mark.e2e, needs_prometheus]

# An hour in thirty seconds, a quarter of an hour in eight: long enough for an alert on rejected inputs.
HASTE = 120
TRAFFIC_SECONDS = 12
KEY = {"Authorization": "Bearer feedback"}
VARIABLES = {"__rate_interval": "5s", "job": "mos-guard", "instance": "a|b", "threshold": "0"}


@dataclass(frozen=True)
class Watch:
    """A Prometheus that has seen everything, and when that was, in Unix time."""

    prometheus: PrometheusProcess
    begin: float
    end: float

    def sees(self, expression: str) -> bool:
        """Say whether *expression* ever gave a number; neither NaN nor Inf is one."""
        found = self.prometheus.query_range(hastened(expression, by=HASTE), self.begin, self.end)
        return any(math.isfinite(value) for series in found for _, value in series.samples)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A day of a service: traffic, a swap, a refused bundle, labels, and a restart."""
    folder = tmp_path_factory.mktemp("watch")
    keys = folder / "keys"
    keys.write_text("feedback\n", encoding="utf-8")
    settings = {"feedback_keys_file": keys, "feedback_log": folder / "labels.jsonl", "max_queue": 4, "max_files": 4}
    bundle = write_tiny_bundle(folder / "bundle").path
    rules = hastened_rules(folder, by=HASTE)
    with running_server(folder, bundle=bundle, **settings) as first, running_server(folder, bundle=bundle) as second:
        first.wait_until_ready()
        with running_prometheus(folder, {"mos-guard": {"a": first.port}}, rules) as prometheus:
            begin = time.time()
            until = time.monotonic() + TRAFFIC_SECONDS
            swaps = itertools.chain([lambda: swap(first, bundle), lambda: refuse(first, bundle)])
            with httpx.Client(base_url=first.url, timeout=60) as client:
                while time.monotonic() < until:
                    send(client)
            # The replica starts again: the same instance, another process.
            second.wait_until_ready()
            prometheus.scrape({"mos-guard": {"a": second.port}})
            yield Watch(prometheus, begin, time.time())
