"""The benchmark beside other servers: it runs to its end, is fair in what it counts, and tells medians and ratios."""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.load import Exchange, percentile, poisson_arrivals, summary
from tests.benchmarks.peers.contest import capacity
from tests.benchmarks.peers.journal import Journal, Row
from tests.benchmarks.peers.report import report
from tests.server_process import ROOT

SCENE = {"bundle": "shipped", "body": "photos"}


@pytest.mark.e2e
def test_it_measures_a_real_server_to_the_end(tmp_path: Path) -> None:
    """Slow for a server and half a dozen processes that are started: the plain loop, each load for a moment."""
    command = [sys.executable, "-m", "tests.benchmarks.peers", "--out", str(tmp_path), "--quick", "--servers", "plain"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(Journal(tmp_path).matching({"kind": "load"}))
    assert [row["load"] for row in rows] == ["closed 1", "closed 32", "open 50"]
    assert all(row["requests_per_second"] > 0 and row["failed"] == 0 and row["cpu_seconds"] > 0 for row in rows)
    assert "| open 50 | plain FastAPI loop |" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "RESULTS.png").stat().st_size > 10_000


def test_arrivals_are_poisson_and_the_same_for_the_same_seed() -> None:
    """Their number and the spread of their gaps are those of exponential gaps."""
    arrivals = poisson_arrivals(per_second=100, seconds=100, seed=1)
    assert arrivals == poisson_arrivals(100, 100, 1) != poisson_arrivals(100, 100, 2)
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(0.01, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.05)


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    ranked = list(map(float, range(1, 101)))
    assert [percentile(ranked, percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert percentile([7.0], 50) == 7


def test_latency_begins_when_a_request_was_due_and_failures_are_no_rate() -> None:
    """The warm-up counts for neither; what never ended is as late as the wait for it was long."""
    warm_up = Exchange(due=0.5, ended=0.6, is_answered=True)
    answered = Exchange(due=1.0, ended=1.2, is_answered=True)
    failed = Exchange(due=1.5, ended=4.5, is_answered=False)
    told = summary([warm_up, answered, failed], begins=1.0, ends=2.0)
    assert told["requests_per_second"] == 1
    assert told["p50_ms"] == pytest.approx(200)
    assert told["p99_ms"] == pytest.approx(3000)
    assert (told["exchanges"], told["failed"]) == (3, 1)


def row(server: str, load: str, number: int, rate: float, p99_ms: float) -> Row:
    """Return one round of a load."""
    key = {**SCENE, "kind": "load", "server": server, "form": "raw", "load": load, "round": number}
    figures = {"requests_per_second": rate, "p50_ms": p99_ms / 4, "p95_ms": p99_ms / 2, "p99_ms": p99_ms}
    costs = {"cpu_seconds": 0.002, "memory_bytes": 2**28, "ready_seconds": 1.5, "exchanges": 100, "failed": 0}
    return key | figures | costs | {"per_second": rate}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Three rounds in which the machine slows down, and the service with LitServe."""
    rows = []
    for number, slow in enumerate((1, 2, 4)):
        for load in ("closed 1", "closed 32"):
            rows += [row("service", load, number, 400 / slow, 40.0), row("litserve", load, number, 160 / slow, 90.0)]
        rows.append({**SCENE, "kind": "ceiling", "round": number, "split": {}, "requests_per_second": 500 / slow})
        rows += [row("service", "open 50", number, 100, 30), row("service", "open 80", number, 210, 120)]
        rows += [row("litserve", "open 50", number, 40, 20), row("litserve", "open 80", number, 64, 200)]
        rows.append(row("litserve", "open 50 of service", number, 100, 25))
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows) + '{"torn')
    return Journal(tmp_path)


def test_the_table_tells_medians_and_the_ratios_within_rounds(journal: Journal, tmp_path: Path) -> None:
    """A machine that slows down from round to round changes the rates, and no ratio."""
    told = report(tmp_path, journal)
    assert "| closed 32 | this service | raw | 200 | 10.0 | 20.0 | 40.0 | 2.00 |  | 1.00 | 1.00 |" in told
    assert "| closed 32 | LitServe | raw | 80.0 | 22.5 | 45.0 | 90.0 | 2.00 |  | 0.400 | 2.25 |" in told
    # Of the ceiling, times LitServe, nothing of the others, p50 at one client; p99 wins at all loads but `open 50`.
    assert "| shipped, photos | 0.800 | 2.50 |  |  | 0.444 | 3 of 4 |" in told


def test_capacity_is_the_best_closed_loop_and_what_keeps_p99_is_the_best_open_one(
    journal: Journal, tmp_path: Path
) -> None:
    assert capacity(journal, "service", SCENE) == 200
    assert "| shipped, photos | 100 | 100 | 210 |" in report(tmp_path, journal)


def test_a_torn_line_is_dropped_and_what_is_there_is_not_measured_again(journal: Journal, tmp_path: Path) -> None:
    count = len(journal.rows)
    journal.measure({**SCENE, "kind": "ceiling", "round": 0}, lambda: pytest.fail("measured again"))
    journal.measure({**SCENE, "kind": "ceiling", "round": 3}, lambda: {"requests_per_second": 1.0})
    assert len(Journal(tmp_path).rows) == count + 1
