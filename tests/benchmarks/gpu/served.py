"""The service end to end, with real JPEGs over HTTP, and decoding alone beside it."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.preprocess import decode
from tests.benchmarks.gpu.models import subject
from tests.benchmarks.gpu.results import Plan, Results, Row
from tests.benchmarks.throughput import photos
from tests.server_process import ROOT, running_server
from training.machine import usable_cores

CLIENTS = (1, 8, 32, 64, 128)


def measure(plan: Plan, results: Results) -> None:
    """Rows of every model and precision, with graphs and without; a server is started for each."""
    ways = ("bound", "graphs") if plan.device == "cuda" else ("plain",)
    with tempfile.TemporaryDirectory() as temporary:
        bodies = Path(temporary) / "bodies"
        bodies.mkdir()
        for index, body in enumerate(photos()):
            (bodies / f"{index:04}").write_bytes(body)
        for name, side in plan.models.items():
            if plan.is_over:
                return
            one = subject(name, side, plan.folder)
            key = {"model": name, "way": f"decoding alone in {usable_cores()} threads"}
            results.add(key, functools.partial(_decoding, plan, bodies, side))
            for way, (precision, bundle) in itertools.product(ways, one.bundles.items()):
                settings = {"bundle": bundle.path.resolve(), "provider": plan.device, "cuda_graphs": way == "graphs"}
                key = {"model": name, "precision": precision, "way": way}
                results.add(key, functools.partial(_served, plan, settings, bodies, Path(temporary)))


def _served(plan: Plan, settings: dict[str, object], bodies: Path, folder: Path) -> Row:
    """A closed loop of each number of clients against one server; every answer must be 200."""
    clients, seconds = ((1, 4), 1.0) if plan.quick else (CLIENTS, 6.0)
    by_clients = {}
    with running_server(folder, **settings, max_queue=1024, log_level="warning") as server:
        started_at = time.monotonic()
        server.wait_until_ready()
        ready_seconds = time.monotonic() - started_at
        for count in clients:
            if not plan.quick:
                _load(server.port, bodies, count, 2.0)  # connections and caches
            by_clients[str(count)] = _load(server.port, bodies, count, seconds)
    return {"ready_seconds": ready_seconds, "by_clients": by_clients}


def _load(port: int, bodies: Path, clients: int, seconds: float) -> Row:
    command = [sys.executable, "-m", "tests.benchmarks.load", str(port), str(bodies), str(clients), str(seconds)]
    measured: Row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    if set(measured["statuses"]) != {"200"}:
        raise RuntimeError(f"the service answered {measured['statuses']}")
    return measured


def _decoding(plan: Plan, bodies: Path, side: int) -> Row:
    """What the decode threads could feed an engine that takes no time."""
    encoded = [path.read_bytes() for path in sorted(bodies.iterdir())]
    rounds = 1 if plan.quick else 20
    with ThreadPoolExecutor(usable_cores()) as threads:
        started_at = time.perf_counter()
        decoded = list(threads.map(lambda body: decode(body, height=side, width=side).nbytes, encoded * rounds))
    return {"images_per_second": len(decoded) / (time.perf_counter() - started_at)}
