"""Every query of both dashboards, asked of a real Prometheus that scrapes a real service under traffic."""

import itertools
import math
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.deploy.sources import DASHBOARDS, GPU_SERIES, Query, queries, series_in
from tests.e2e.traffic import Ledger, Request, Traffic
from tests.prometheus_process import (
    PrometheusProcess,
    Series,
    hastened,
    hastened_rules,
    needs_prometheus,
    running_prometheus,
)
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import CLASSES, png, write_tiny_bundle

pytestmark = [pytest.mark.e2e, needs_prometheus]

HASTE = 120  # an hour in thirty seconds
PATIENCE_SECONDS = 40
INSTANCE = "replica"
VARIABLES = {"__rate_interval": "5s", "job": "mos-guard", "instance": INSTANCE}
# Nothing here has a GPU whose exporter Prometheus could ask.
SILENT = GPU_SERIES


@dataclass(frozen=True)
class Watch:
    """A Prometheus that has seen everything, and when that was, in Unix time."""

    prometheus: PrometheusProcess
    begin: float
    end: float

    def answers(self, expression: str) -> list[Series]:
        """Return the series of *expression* that ever were a number; neither NaN nor Inf is one."""
        found = self.prometheus.query_range(hastened(expression, by=HASTE), self.begin, self.end)
        return [series for series in found if any(math.isfinite(value) for _, value in series.samples)]


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Traffic, labels, a swap, a bundle that is refused, an alert, and a restart."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "keys").write_text("operator\n", encoding="utf-8")
    settings = {"feedback_keys_file": "keys", "feedback_log": "labels", "max_queue": 8, "decode_threads": 1}
    bundle, other = (write_tiny_bundle(folder / name, nan_on_black=True).path for name in ("bundle", "other"))
    with running_server(folder, bundle=bundle, **settings) as server:
        server.wait_until_ready()
        rules = hastened_rules(folder, by=HASTE)
        with running_prometheus(folder, {"mos-guard": {INSTANCE: server.port}}, rules) as prometheus:
            begin = time.time()
            with Traffic(server, mix(), Ledger(), per_second=60):
                until(lambda: prometheus.query("mos_predictions_total > 0"))
                label(server)
                until(lambda: is_overloaded(server))
                swap(server, bundle)
                until(lambda: prometheus.query('mos_bundle_reloads_total{outcome="swapped"} > 0'))
                spoil(server, bundle)
                until(lambda: prometheus.query("mos_bundle_last_reload_ok == 0") and prometheus.firing())
            # The replica starts again: its name stays, its process is another.
            with running_server(folder, bundle=other) as successor:
                successor.wait_until_ready()
                prometheus.scrape({"mos-guard": {INSTANCE: successor.port}})
                until(lambda: prometheus.query("changes(process_start_time_seconds[10s] offset 2s) > 0"))
                yield Watch(prometheus, begin, time.time())


def until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, "what was waited for never came"
        time.sleep(0.2)


def mix() -> Iterator[Request]:
    """Pictures near the classes, a few foreign ones, one on which the model fails, and what is no picture."""
    draw = random.Random(0)
    colors = [tuple(round(255 * channel) for channel in color) for color in CLASSES.values()]
    for i in itertools.count():
        red, green, blue = (round(128 + (channel - 128) * draw.uniform(0.2, 1)) for channel in draw.choice(colors))
        yield Request("own", png((red, green, blue)))
        if i % 5 == 0:
            yield Request("foreign", png((128, 128, 128)))
            yield Request("cut", png((red, green, blue))[:40])
            yield Request("text", b"This is no picture.")
        if i % 20 == 0:
            yield Request("black", png((0, 0, 0)))


def is_overloaded(server: ServerProcess) -> bool:
    """Ask for more at once than the queue takes, and say whether some of it was refused."""
    large = png((235, 20, 20), width=1500, height=1500)
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda _: httpx.post(f"{server.url}/predict", content=large, timeout=60), range(32))
    return 429 in [answer.status_code for answer in answers]


def label(server: ServerProcess) -> None:
    """Say of own and foreign pictures what they are, rightly and wrongly, and of one twice."""
    for number, (color, said) in enumerate(
        itertools.product([(235, 20, 20), (128, 128, 128)], ["in", "out", "red", "blue", "out"])
    ):
        name = f"picture-{number}"
        httpx.post(f"{server.url}/predict", content=png(color), headers={"X-Request-ID": name}, timeout=60)
        for _ in range(2 if number == 0 else 1):
            content = {"request_id": name, "label": said}
            httpx.post(f"{server.url}/feedback", json=content, headers={"X-API-Key": "operator"}, timeout=60)


def swap(server: ServerProcess, bundle: Path) -> None:
    """Put another version in the bundle's place and have it taken into service."""
    write_tiny_bundle(bundle, version="2", nan_on_black=True)
    server.process.send_signal(signal.SIGHUP)


def spoil(server: ServerProcess, bundle: Path) -> None:
    """Put a model that is none in the bundle's place, which the service refuses."""
    (bundle / "model.onnx").write_bytes(b"This is no model.")
    server.process.send_signal(signal.SIGHUP)


def operands(query: Query) -> list[str]:
    """The sides of every `or` of a query: one that answers would hide that the other never does."""
    return re.split(r"\s+or\s+(?:on\s*\([^)]*\)\s*)?", query.sent(VARIABLES))


def test_every_query_is_answered(watch: Watch) -> None:
    """It gives numbers, with hours hastened to half minutes; a misspelt name or label would give none, and no error.

    One test for all, since each process of the test run that has a part of them would live through the day again.
    """
    asked = [(query, operand) for query in queries() for operand in operands(query)]
    unanswered = [(query, operand) for query, operand in asked if not watch.answers(operand)]
    unexplained = [
        f"{query.dashboard}, {query.place}: {operand}"
        for query, operand in unanswered
        if not series_in(operand) & SILENT
    ]
    assert not unexplained, "\n".join(unexplained)
    assert {name for _, operand in unanswered for name in series_in(operand)} == SILENT


def test_what_a_legend_shows_is_in_the_answer(watch: Watch) -> None:
    """Lines that are summed by a misspelt label would be one line without a name."""
    for query in queries():
        answered = {label for series in watch.answers(query.sent(VARIABLES)) for label in series.labels}
        assert query.labels <= answered or series_in(query.expression) & SILENT, query


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_variables_find_their_values(watch: Watch, name: str) -> None:
    """The jobs and replicas that Grafana offers are those that are scraped, and the threshold is a number."""
    found = {}
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        question = Query(name, variable["name"], variable["query"]["query"]).sent(VARIABLES)
        kind, inner = re.fullmatch(r"(label_values|query_result)\((.*)\)", question).groups()
        if kind == "label_values":
            selector, _, wanted = inner.rpartition(",")
            found[variable["name"]] = watch.prometheus.label_values(wanted.strip(), selector)
        else:
            # As Grafana writes a result down, for the variable's pattern to read the value from.
            lines = [f"{{}} {series.last:g} {series.samples[-1][0]:.0f}000" for series in watch.prometheus.query(inner)]
            found[variable["name"]] = [float(re.search(variable["regex"].strip("/"), line)[1]) for line in lines]
    assert found["job"] == ["mos-guard"]
    assert found["instance"] == [INSTANCE]
    assert name != "guard" or -1 < found["threshold"][0] < 0


def test_hastening_changes_durations_and_nothing_else() -> None:
    """The queries above are asked in a shorter time; names and numbers that look alike stay."""
    slow = 'a:b:ratio1h{le="0.5"} / increase(c[1d]) > 0.5 and rate(d[1m] offset 2h) > 30'
    assert hastened(slow, by=HASTE) == 'a:b:ratio1h{le="0.5"} / increase(c[720s]) > 0.5 and rate(d[4s] offset 60s) > 30'
