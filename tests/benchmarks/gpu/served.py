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
from tests.benchmarks.peers.forms import raw
from tests.benchmarks.pictures import photos
from tests.server_process import ROOT, running_server
from training.machine import usable_cores

CLIENTS = (1, 8, 32, 64, 128)


def measure(plan: Plan, results: Results) -> None:
    """Rows of every model and precision, with graphs and without; a server is started for each."""
    ways = ("bound", "graphs") if plan.device == "cuda" else ("plain",)
    with tempfile.TemporaryDirectory() as temporary:
        requests = Path(temporary) / "requests"
        requests.mkdir()
        for index, photo in enumerate(photos()):
            (requests / f"{index:04}").write_bytes(raw(photo, "/predict"))
        for name, side in plan.models.items():
            if plan.is_over:
                return
            one = subject(name, side, plan.folder)
            key = {"model": name, "way": f"decoding alone in {usable_cores()} threads"}
            results.add(key, functools.partial(_decoding, plan, side))
            for way, (precision, bundle) in itertools.product(ways, one.bundles.items()):
                settings = {"bundle": bundle.path.resolve(), "provider": plan.device, "cuda_graphs": way == "graphs"}
                key = {"model": name, "precision": precision, "way": way}
                results.add(key, functools.partial(_served, plan, settings, requests, Path(temporary)))


def _served(plan: Plan, settings: dict[str, object], requests: Path, folder: Path) -> Row:
    """A closed loop of each number of clients against one server; every answer must be 200."""
    clients, seconds = ((1, 4), 1.0) if plan.quick else (CLIENTS, 6.0)
    by_clients = {}
    with running_server(folder, **settings, max_queue=1024, log_level="warning") as server:
        started_at = time.monotonic()
        server.wait_until_ready()
        ready_seconds = time.monotonic() - started_at
        for count in clients:
            by_clients[str(count)] = _load(server.port, requests, count, seconds)
    return {"ready_seconds": ready_seconds, "by_clients": by_clients}


def _load(port: int, requests: Path, clients: int, seconds: float) -> Row:
    command = [sys.executable, "-m", "tests.benchmarks.load", str(port), str(requests), "--clients", str(clients)]
    command += ["--seconds", str(seconds), "--warm-up-seconds", str(seconds / 3)]  # connections and caches
    measured: Row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    if measured["failed"]:
        raise RuntimeError(f"the service failed {measured['failed']} of {measured['exchanges']} requests")
    return measured


def _decoding(plan: Plan, side: int) -> Row:
    """What the decode threads could feed an engine that takes no time."""
    encoded = photos()
    rounds = 1 if plan.quick else 20
    with ThreadPoolExecutor(usable_cores()) as threads:
        started_at = time.perf_counter()
        decoded = list(threads.map(lambda body: decode(body, height=side, width=side).nbytes, encoded * rounds))
    return {"images_per_second": len(decoded) / (time.perf_counter() - started_at)}
