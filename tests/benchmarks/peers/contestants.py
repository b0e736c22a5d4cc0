"""The servers of the contest: how each is started, which forms of request it takes, and what it may be set to."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import forms, process_tree
from tests.benchmarks.peers.servers.model import ENVIRONMENT
from tests.server_process import ROOT, environment, free_port

Settings = dict[str, Any]
START_SECONDS = 120.0
CORES = len(os.sched_getaffinity(0))


class PeerError(Exception):
    """A server does not start, or answers wrong."""


@dataclass(frozen=True)
class Contestant:
    """A server that somebody would choose.

    The best of *candidates* is found by measuring, then each of *changes* to it is kept if that is faster yet. Without
    a search the first one is taken.
    """

    name: str
    health: str
    forms: Mapping[str, forms.Form]
    candidates: tuple[Settings, ...]
    changes: tuple[Settings, ...] = ()


def service(model_name: str) -> Contestant:
    """This project's service, as it is by default."""
    takes = {
        "raw": partial(forms.raw, path="/predict"),
        "multipart": partial(forms.multipart, path="/predict"),
        "v2": partial(forms.v2, path=f"/v2/models/{model_name}/infer"),
    }
    return Contestant("service", "/health/ready", takes, ({"form": "raw"},))


PLAIN = Contestant(
    "plain",
    "/health",
    {"multipart": partial(forms.multipart, path="/predict")},
    tuple(
        {"form": "multipart", "workers": workers, "intra_op_threads": threads, "spinning": spinning}
        for workers, threads, spinning in [(CORES, 1, False), (1, 0, False), (1, 0, True)]
    ),
)
LITSERVE = Contestant(
    "litserve",
    "/health",
    {
        "json": partial(forms.base64_json, path="/predict"),
        "multipart": partial(forms.multipart, path="/predict"),
    },
    tuple(
        {
            "form": "multipart",
            "workers": workers,
            "intra_op_threads": CORES // workers,
            "max_batch_size": batch_size,
            "batch_timeout_seconds": timeout,
            "fast_queue": False,
            "api_servers": 1,
        }
        for workers, batch_size, timeout in [(CORES, 8, 0.002), (CORES, 16, 0.0), (1, 16, 0.005), (1, 32, 0.0)]
    ),
    ({"form": "json"}, {"fast_queue": True}, {"api_servers": CORES}),
)
BENTOML = Contestant(
    "bentoml",
    "/readyz",
    {
        "files": partial(forms.multipart, path="/files", field="images"),
        "encoded": partial(forms.base64_json, path="/encoded", field="images", is_list=True),
        "alone": partial(forms.multipart, path="/alone", field="image"),
    },
    tuple(
        {
            "form": form,
            "workers": workers,
            "intra_op_threads": CORES // workers,
            "decode_threads": CORES // workers,
            "max_batch_size": 32,
            "max_latency_ms": 10_000,
        }
        for form, workers in itertools.product(("files", "alone"), (CORES, 1))
    ),
    ({"form": "encoded"}, {"max_batch_size": 8}),
)
PEERS = {peer.name: peer for peer in (LITSERVE, BENTOML, PLAIN)}


@dataclass
class Running:
    """A server that was started and has answered that it is ready."""

    contestant: Contestant
    settings: Settings
    process: subprocess.Popen[bytes]
    port: int
    ready_seconds: float = field(default=0.0)

    @property
    def name(self) -> str:
        return self.contestant.name

    def wait_until_ready(self) -> None:
        """Wait until it answers that it is ready."""
        gives_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < gives_up_at:
            if self.process.poll() is not None:
                raise PeerError(f"{self.name} has ended; its log is in the folder of the results.")
            if self._is_ready():
                return
            time.sleep(0.02)
        raise PeerError(f"{self.name} did not become ready in {START_SECONDS:.0f} s.")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", self.contestant.health)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @contextlib.contextmanager
    def on_its_turn(self) -> Iterator[None]:
        """Let it run for the time of the block: the others' timers and polling must not cost it anything."""
        process_tree.thaw(self.process.pid)
        self.wait_until_ready()
        try:
            yield
        finally:
            process_tree.freeze(self.process.pid)


def command(name: str, python: Path, port: int, settings: Settings) -> list[str]:
    """Return what starts a peer, as its own documentation does it."""
    module = f"tests.benchmarks.peers.servers.{name}"
    arguments = {
        "litserve": [module],
        "bentoml": ["bentoml", "serve", f"{module}:Guard", "--host", "127.0.0.1", "--port", str(port)],
        "plain": ["uvicorn", f"{module}:app", "--port", str(port), "--log-level", "warning"],
    }
    # A worker that takes longer to import its model than its supervisor's patience would be started for ever.
    workers = ["--workers", str(settings["workers"]), "--timeout-worker-healthcheck", "60"] if name == "plain" else []
    return [str(python), "-m", *arguments[name], *workers]


@contextlib.contextmanager
def running(
    contestant: Contestant, settings: Settings, *, bundle: Path, python: Path, folder: Path
) -> Iterator[Running]:
    """Start a server and wait until it is ready; with the block it ends, and all its processes."""
    port = free_port()
    if contestant.name == "service":
        arguments = [sys.executable, "-m", "service"]
        variables = environment({"port": port, "bundle": bundle, "provider": "cpu", "log_level": "warning"})
    else:
        arguments = command(contestant.name, python, port, settings)
        told = json.dumps(settings | {"port": port, "bundle": str(bundle)})
        variables = os.environ | {ENVIRONMENT: told, "BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "true"}
    # What limits the benchmark's own numpy must not limit a server.
    variables = {name: value for name, value in variables.items() if name != "OMP_NUM_THREADS"}
    with (folder / f"{contestant.name}.log").open("ab") as log:
        started_at = time.monotonic()
        process = subprocess.Popen(
            arguments, env=variables | {"PYTHONPATH": str(ROOT)}, cwd=folder, stdout=log, stderr=log
        )
    server = Running(contestant, settings, process, port)
    try:
        server.wait_until_ready()
        server.ready_seconds = time.monotonic() - started_at
        yield server
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    processes = process_tree.members(process.pid)
    process_tree.thaw(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    process_tree.kill(processes)
    process.wait()
