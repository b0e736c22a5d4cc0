"""A real process from its start to its end: what it refuses to start with, and that no accepted request is lost."""

import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.bundle import Bundle
from tests.server_process import ROOT, ServerProcess, environment, free_port, running_server
from tests.tiny_bundle import png, write_tiny_bundle

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))


def run_to_its_end(folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment({"port": free_port(), "log_level": "warning"} | settings) | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def photo(side: int = 1500) -> bytes:
    """A picture that takes some tens of milliseconds to decode."""
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 60).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("damage", ["absent", "changed model", "no manifest", "unknown schema", "foreign calibration"])
def test_a_bad_bundle_is_one_sentence_and_status_1(tiny_bundle: Bundle, tmp_path: Path, damage: str) -> None:
    """The process does not start; standard error has one sentence and no traceback."""
    path = tmp_path / "bundle"
    if damage != "absent":
        shutil.copytree(tiny_bundle.path, path)
    if damage == "changed model":
        (path / "model.onnx").write_bytes(b"x")
    elif damage == "no manifest":
        (path / "bundle.json").unlink()
    elif damage == "unknown schema":
        manifest = (path / "bundle.json").read_text()
        (path / "bundle.json").write_text(manifest.replace('"schema_version": 2', '"schema_version": 99'))
    elif damage == "foreign calibration":
        calibration = (path / "calibration.json").read_text()
        (path / "calibration.json").write_text(calibration.replace(tiny_bundle.manifest.model_sha256, "0" * 64))
    ended = run_to_its_end(tmp_path, bundle=path)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.endswith(".\n")
    assert ended.stdout == ""


def test_a_provider_that_is_not_there_is_one_sentence_and_status_1(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """`cuda` never becomes the CPU in silence."""
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has the provider")
    ended = run_to_its_end(tmp_path, bundle=tiny_bundle.path, provider="cuda")
    assert ended.returncode == 1
    assert "cuda" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("port", "http"), ("provider", "gpu"), ("max_queue", "0"), ("metrics", "key")]
)
def test_a_wrong_setting_is_one_sentence_and_status_2(tmp_path: Path, name: str, value: str) -> None:
    """The sentence names the variable."""
    ended = run_to_its_end(tmp_path, **{name: value})
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"MOS_{name.upper()}={value}: ")
    assert len(ended.stderr.splitlines()) == 1


def test_a_port_in_use_is_no_traceback(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The process says so and ends with a status other than 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = run_to_its_end(tmp_path, bundle=tiny_bundle.path, port=taken.getsockname()[1])
    assert ended.returncode not in (0, 2)
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def begin_upload(server: ServerProcess, size_bytes: int) -> socket.socket:
    """A connection on which a body is awaited: its request is accepted, for the service asks for more."""
    upload = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    upload.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size_bytes
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n") and (piece := upload.recv(1)):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 100 ")
    return upload


class Client(threading.Thread):
    """One keep-alive client that asks again and again, and ends at the first answer other than 200.

    It also ends where a new connection is refused: there, no request was accepted.
    """

    def __init__(self, server: ServerProcess, content: bytes) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.answered_at: list[float] = []
        self.lost: list[str] = []
        self._server = server
        self._content = content
        self.start()

    def run(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self.statuses or self.statuses[-1] == 200:
                try:
                    response = client.post("/predict", content=self._content)
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    self.lost.append(repr(error))
                    return
                self.statuses.append(response.status_code)
                self.answered_at.append(time.monotonic())


def test_sigterm_under_load_loses_no_accepted_request(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Every request of sixteen busy clients is answered: 200 where it was accepted, 503 after; the end has status 0."""
    with running_server(tmp_path, bundle=tiny_bundle.path, decode_threads=1) as server:
        server.wait_until_ready()
        clients = [Client(server, photo()) for _ in range(16)]
        while any(not client.statuses for client in clients):
            time.sleep(0.01)
        terminated_at = time.monotonic()
        server.terminate()
        for client in clients:
            client.join(timeout=60)
        assert server.process.wait(timeout=60) == 0
    assert [client.lost for client in clients if client.lost] == []
    assert {status for client in clients for status in client.statuses} == {200, 503}
    late = [
        status
        for client in clients
        for status, answered_at in zip(client.statuses, client.answered_at, strict=True)
        if status == 200 and answered_at > terminated_at
    ]
    assert late, "no request was on its way when the signal came: nothing was proved"


def test_ready_fails_first_and_an_upload_under_way_is_answered(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """After SIGTERM: ready 503, live 200, new predictions 503, and a body that was half sent is taken and judged."""
    with running_server(tmp_path, bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        with begin_upload(server, len(RED)) as upload:
            upload.sendall(RED[:30])
            server.terminate()
            assert server.wait_until(503).json()["code"] == "not_ready"
            assert httpx.get(f"{server.url}/health/live", timeout=60).status_code == 200
            refused = httpx.post(f"{server.url}/predict", content=RED, timeout=60)
            assert (refused.status_code, refused.headers["Connection"]) == (503, "close")
            upload.sendall(RED[30:])
            answer = b""
            while piece := upload.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(timeout=60) == 0


def test_an_idle_server_ends_at_once_and_in_order(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Without work the drain is as long as its notice, and an open idle connection does not hold it."""
    with running_server(tmp_path, bundle=tiny_bundle.path, drain_seconds=30) as server:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=60) as client:
            assert client.get("/health/live").status_code == 200
            server.terminate()
            assert server.process.wait(timeout=20) == 0


def test_a_drain_has_an_end(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A body that never comes does not keep the process longer than MOS_DRAIN_SECONDS allows, and is answered."""
    with running_server(tmp_path, bundle=tiny_bundle.path, drain_seconds=2, body_timeout_ms=600_000) as server:
        server.wait_until_ready()
        with begin_upload(server, 100) as upload:
            upload.sendall(b"x")
            server.terminate()
            assert server.process.wait(timeout=30) == 0
            assert upload.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert "Traceback" not in server.log.read_text()


def test_the_service_goes_on_while_nobody_reads_its_log(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A log sink that is full blocks no answer, and no end."""
    reader, writer = os.pipe()
    port = free_port()
    settings = {"bundle": tiny_bundle.path, "provider": "cpu", "port": port}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=environment(settings) | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stderr=writer,
    )
    os.close(writer)
    try:
        server = ServerProcess(process, port, tmp_path / "none")
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for _ in range(500):  # some 300 bytes a line, into a pipe of 64 KiB
                assert client.post("/predict", content=RED).status_code == 200
        server.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def test_two_services_at_one_time_are_two(tmp_path: Path) -> None:
    """Nothing but the port is shared, so a rolling update can overlap."""
    for version in ("1", "2"):
        write_tiny_bundle(tmp_path / version, version=version)
    with (
        running_server(tmp_path, bundle=tmp_path / "1") as first,
        running_server(tmp_path, bundle=tmp_path / "2") as second,
    ):
        for server, version in ((first, "1"), (second, "2")):
            server.wait_until_ready()
            assert httpx.post(f"{server.url}/predict", content=RED, timeout=60).json()["version"] == version
