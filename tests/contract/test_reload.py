"""A real process takes another bundle into service: on SIGHUP or by watching, under load, and without a gap."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.settings import DEFAULT_BUNDLE
from tests.server_process import ROOT, ServerProcess, environment, running_server
from tests.tiny_bundle import CLASSES, png, write_tiny_bundle

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))


class Client(threading.Thread):
    """One keep-alive client that asks again and again until it is told to stop, and keeps every answer."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__()
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._server = server
        self._is_stopped = threading.Event()
        self.start()

    def run(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self._is_stopped.is_set():
                try:
                    response = client.post("/predict", content=RED)
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if response.status_code == 200:
                    self.answers.append(response.json())
                else:
                    self.failures.append(response.text)

    def stop(self) -> None:
        self._is_stopped.set()
        self.join(timeout=60)


@contextmanager
def load(server: ServerProcess, clients: int = 8) -> Iterator[list[Client]]:
    """Clients that are busy while the block runs; none may fail."""
    busy = [Client(server) for _ in range(clients)]
    try:
        while any(not client.answers for client in busy):
            time.sleep(0.01)
        yield busy
        for client in busy:  # each hears once more from what is in service at the end
            heard = len(client.answers)
            while len(client.answers) < heard + 2 and not client.failures:
                time.sleep(0.01)
    finally:
        for client in busy:
            client.stop()
    assert [client.failures for client in busy if client.failures] == []


def wait_for(server: ServerProcess, outcome: str, count: int) -> None:
    """Wait until so many bundles have come to *outcome*."""
    give_up_at = time.monotonic() + 60
    while server.metric(f'mos_bundle_reloads_total{{outcome="{outcome}"}}') < count:
        assert time.monotonic() < give_up_at, server.log.read_text()
        time.sleep(0.02)


def hang_up(server: ServerProcess) -> None:
    server.process.send_signal(signal.SIGHUP)


def test_swaps_under_load_lose_no_request(tmp_path: Path) -> None:
    """Five exchanges under eight clients: every request is answered, by one version as a whole, and in their order."""
    known = {}
    for version in "123456":
        bundle = write_tiny_bundle(tmp_path / version, version=version)
        # Another threshold each, so that an answer made of two versions would show.
        document = (bundle.path / "calibration.json").read_text()
        assert bundle.calibration is not None
        known[version] = bundle.calibration.threshold - int(version) / 1000
        document = document.replace(str(bundle.calibration.threshold), str(known[version]), 1)
        (bundle.path / "calibration.json").write_text(document)
    link = tmp_path / "bundle"
    link.symlink_to("1")
    with running_server(tmp_path, bundle=link) as server:
        server.wait_until_ready()
        with load(server) as clients:
            for count, version in enumerate("23456", 1):
                turned = tmp_path / "turned"
                turned.symlink_to(version)
                turned.replace(link)
                hang_up(server)
                wait_for(server, "swapped", count)
        for client in clients:
            versions = [answer["version"] for answer in client.answers]
            assert versions == sorted(versions), "an older bundle judged after a newer one"
            assert versions[-1] == "6"
            assert {(answer["version"], answer["threshold"]) for answer in client.answers} <= set(known.items())
        assert len({answer["version"] for client in clients for answer in client.answers}) >= 4


def test_a_bad_bundle_under_load_changes_nothing(tmp_path: Path) -> None:
    """The one in service goes on, ready as before; the refusal is counted, and the log says why."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    with running_server(tmp_path, bundle=bundle.path) as server:
        server.wait_until_ready()
        with load(server) as clients:
            (bundle.path / "model.onnx").write_bytes(b"no model")
            hang_up(server)
            wait_for(server, "refused", 1)
            assert httpx.get(f"{server.url}/health/ready", timeout=60).status_code == 200
        assert {answer["version"] for client in clients for answer in client.answers} == {"1"}
        assert server.metric("mos_bundle_last_reload_ok") == 0
    assert "is not the model that bundle.json names" in server.log.read_text()


def test_a_calibration_beside_the_running_service_takes_effect_without_a_gap(tmp_path: Path) -> None:
    """The calibration job writes into the bundle that is served; the service sees it and loses no request."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    colors = [tuple(round(20 + 215 * channel) for channel in color) for color in CLASSES.values()]
    for i in range(100):
        shade = np.clip(np.array(colors[i % len(colors)]) + random.integers(-20, 20, 3), 0, 255)
        (pictures / f"{i}.png").write_bytes(png(tuple(shade.tolist())))
    with running_server(tmp_path, bundle=bundle.path, bundle_watch_seconds=0.1) as server:
        server.wait_until_ready()
        before = server.metric("mos_threshold")
        with load(server) as clients:
            subprocess.run(
                [sys.executable, "-m", "training", "calibrate", "--bundle", bundle.path, "--data", pictures],
                env=environment({}) | {"PYTHONPATH": str(ROOT)},
                check=True,
                capture_output=True,
                timeout=120,
            )
            wait_for(server, "swapped", 1)
        assert server.metric("mos_threshold") != before
        thresholds = [answer["threshold"] for answer in clients[0].answers]
        assert (thresholds[0], thresholds[-1]) == (before, server.metric("mos_threshold"))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not show what a process has loaded")
def test_a_signal_during_the_start_ends_nothing(tmp_path: Path) -> None:
    """Whoever signals all replicas reaches those, too, that are just starting: from before the long imports on."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    with running_server(tmp_path, bundle=bundle.path) as server:
        proc = Path(f"/proc/{server.process.pid}")
        while not survives_hang_up(proc):
            time.sleep(0.002)
        assert "onnxruntime" not in (proc / "maps").read_text(), "until now the signal would have ended the start"
        for _ in range(50):
            hang_up(server)
            time.sleep(0.02)
        server.wait_until_ready()
        assert httpx.post(f"{server.url}/predict", content=RED, timeout=60).status_code == 200


def survives_hang_up(proc: Path) -> bool:
    """Say whether a process ignores or handles SIGHUP, the first bit of the masks that the system shows."""
    masks = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    return any(int(masks[name], 16) & 1 for name in ("SigIgn", "SigCgt"))


def test_memory_returns_to_one_bundle(tmp_path: Path) -> None:
    """After many exchanges of the shipped model the process holds about what it held after the first ones."""
    if not DEFAULT_BUNDLE.is_dir():
        pytest.skip("the shipped bundle, service/default_bundle, is not here")
    copy = Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle"))
    with running_server(tmp_path, bundle=copy, intra_op_threads=1) as server:
        server.wait_until_ready()
        resident_bytes = []
        for count in range(1, 13):
            hang_up(server)
            wait_for(server, "swapped", count)
            httpx.post(f"{server.url}/predict", content=RED, timeout=60).raise_for_status()
            resident_bytes.append(server.metric("process_resident_memory_bytes"))
    # The heap settles over the first ones. A session of this model takes some 60 MB: eight more could not hide.
    assert resident_bytes[-1] - resident_bytes[3] < 60e6, [round(size / 1e6) for size in resident_bytes]
    print([round(size / 1e6) for size in resident_bytes])
