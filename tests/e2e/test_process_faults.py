"""What a real process does when the world around it breaks, and that it is well again once the world is.

The table of README.md, "When something breaks", is what these tests hold.
"""

import io
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.bundle import Bundle
from tests.e2e.faulty_service import FAULT_FILE, HANG_FILE
from tests.full_disk import full_disk
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_SECONDS = 60


def until(condition: Callable[[], bool], wanted: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, f"not seen: {wanted}"
        time.sleep(0.05)


def status(server: ServerProcess, probe: str) -> int:
    return httpx.get(f"{server.url}/health/{probe}", timeout=30).status_code


def post(server: ServerProcess, content: bytes = RED) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", content=content, timeout=30)


def test_a_lost_engine_ends_readiness_at_once_and_life_after_its_grace(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """An orchestrator takes the load away, and restarts the process only where the engine does not come back."""
    settings = {"bundle": tiny_bundle.path, "engine_grace_seconds": 1, "canary_interval_seconds": 0.2}
    with running_server(tmp_path, module="tests.e2e.faulty_service", **settings) as server:
        server.wait_until_ready()
        assert server.metric("mos_engine_lost_seconds") == 0
        (tmp_path / FAULT_FILE).touch()
        refused = post(server)
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert status(server, "ready") == 503
        until(lambda: status(server, "live") == 503, "the end of life")
        assert server.metric("mos_engine_lost_seconds") > 1
        assert server.metric("mos_ready") == 0
        (tmp_path / FAULT_FILE).unlink()
        server.wait_until_ready()
        assert status(server, "live") == 200
        assert post(server).status_code == 200


def test_an_engine_that_is_lost_from_the_start_ends_life_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A process that never gets warm for its engine's sake is restarted like one that lost it later."""
    (tmp_path / FAULT_FILE).touch()
    settings = {"bundle": tiny_bundle.path, "engine_grace_seconds": 1, "canary_interval_seconds": 0.2}
    with running_server(tmp_path, module="tests.e2e.faulty_service", **settings) as server:
        assert server.wait_until(503).json()["code"] == "not_ready"
        until(lambda: status(server, "live") == 503, "the end of life")
        assert "engine" in httpx.get(f"{server.url}/health/ready", timeout=30).json()["detail"]


def test_a_hanging_engine_is_seen_without_a_canary_and_without_a_queue(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """One request is enough: its caller hears 504, the next one 503, and it is well when the batch ends after all."""
    settings = {"bundle": tiny_bundle.path, "deadline_ms": 300, "engine_grace_seconds": 1}
    with running_server(tmp_path, module="tests.e2e.faulty_service", canary_interval_seconds=600, **settings) as server:
        server.wait_until_ready()
        (tmp_path / HANG_FILE).touch()
        assert post(server).status_code == 504
        assert server.metric("mos_queue_depth") == 0
        until(lambda: status(server, "ready") == 503, "the end of readiness")
        assert post(server).status_code == 503
        until(lambda: status(server, "live") == 503, "the end of life")
        assert server.metric("mos_engine_lost_seconds") > 1
        (tmp_path / HANG_FILE).unlink()
        server.wait_until_ready()
        assert status(server, "live") == 200
        assert post(server).status_code == 200


def test_a_hanging_engine_does_not_hold_the_end(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Its callers are answered, and the process ends in order, long before the longest time of a drain."""
    settings = {"bundle": tiny_bundle.path, "deadline_ms": 300, "drain_seconds": 600}
    with running_server(tmp_path, module="tests.e2e.faulty_service", **settings) as server:
        server.wait_until_ready()
        (tmp_path / HANG_FILE).touch()
        assert post(server).status_code == 504
        server.terminate()
        assert server.process.wait(timeout=60) == 0
        assert "Traceback" not in server.log.read_text()


def test_a_stalled_process_answers_late_and_says_by_how_much(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Probes wait in vain while it stands; what was sent meanwhile is answered, and the lag is in its series."""
    with running_server(tmp_path, bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        server.process.send_signal(signal.SIGSTOP)
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=1) as probe:
                probe.sendall(LIVE)
                with pytest.raises(TimeoutError):
                    probe.recv(100)
                server.process.send_signal(signal.SIGCONT)
                probe.settimeout(30)
                assert probe.recv(100).startswith(b"HTTP/1.1 200")
        finally:
            server.process.send_signal(signal.SIGCONT)
        until(lambda: server.metric("mos_event_loop_lag_seconds_sum") > 0.7, "the lag")
        assert status(server, "ready") == 200


def test_a_full_disk_under_the_log_costs_its_lines_alone(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Every request is answered and what is not written is counted; with room there are lines again."""
    with running_server(tmp_path, bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        with full_disk(0, server.process.pid):
            assert [post(server).status_code for _ in range(20)] == [200] * 20
            until(lambda: server.metric('mos_log_lines_dropped_total{log="service"}') >= 20, "the dropped lines")
            assert status(server, "ready") == 200
        size_bytes = server.log.stat().st_size
        assert post(server).status_code == 200
        until(lambda: server.log.stat().st_size > size_bytes, "a line")


def cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_without_descriptors_the_accepted_are_answered_and_the_idle_give_way(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """Clients beyond the limit are closed at once, until idle ones are ended for them; the process does not spin."""
    with running_server(tmp_path, bundle=tiny_bundle.path) as server, ExitStack() as stack:
        server.wait_until_ready()
        process_id = server.process.pid
        limit = len(os.listdir(f"/proc/{process_id}/fd")) + 80
        resource.prlimit(process_id, resource.RLIMIT_NOFILE, (limit, limit))
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30)) for _ in range(150)
        ]
        assert {ask(client) for client in clients} == {b"HTTP/1.1 200", b""}
        used_seconds = cpu_seconds(process_id)
        time.sleep(1)
        assert cpu_seconds(process_id) - used_seconds < 0.5, "it spins"
        until(lambda: ask_anew(server) == b"HTTP/1.1 200", "room for a new client")
        assert post(server).status_code == 200
        assert status(server, "ready") == 200


def ask(client: socket.socket) -> bytes:
    """Ask whether it lives; return the answer's beginning, empty where the connection is closed instead."""
    try:
        client.sendall(LIVE)
        return client.recv(4096)[:12]
    except (ConnectionResetError, BrokenPipeError):
        return b""


def ask_anew(server: ServerProcess) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        return ask(client)


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads the size of a process in /proc")
def test_a_picture_for_which_there_is_no_memory_is_refused_alone(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """503, which says nothing about the picture: with memory the same bytes are judged."""
    buffer = io.BytesIO()
    Image.new("RGB", (7000, 7000), (235, 20, 20)).save(buffer, "JPEG")  # some 200 MB in Pillow's form
    large = buffer.getvalue()
    with running_server(tmp_path, bundle=tiny_bundle.path, decode_threads=1) as server:
        server.wait_until_ready()
        assert post(server).status_code == 200
        pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 64 * 2**20
        before = resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        refused = post(server, large)
        assert (refused.status_code, refused.json()["code"]) == (503, "out_of_memory")
        assert int(refused.headers["Retry-After"]) >= 1
        assert post(server).status_code == 200
        assert status(server, "ready") == 200
        assert server.metric('mos_rejected_total{reason="out_of_memory"}') == 1
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, before)
        assert post(server, large).status_code == 200
