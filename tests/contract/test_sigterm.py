"""The end of a real process under a storm of clients: none of them may hear anything but an answer or a refusal."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from service.bundle import Bundle
from tests.contract.hammer import CROSSED, REFUSED, Books, Hammer
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))
REQUESTS = (
    b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(RED), RED),
)
STORM_SECONDS = 0.5
PATIENCE_SECONDS = 30


async def end_in_a_storm(server: ServerProcess) -> Books:
    """Send SIGTERM while some hundred clients ask, and return how all their requests ended."""
    hammer = Hammer(server.port, REQUESTS)
    clients = asyncio.create_task(hammer.strike(short_lived=100, keep_alive=60, longest_pause_seconds=2.0))
    await asyncio.sleep(STORM_SECONDS)
    server.terminate()
    await asyncio.sleep(0.2)  # the server looks for the signal ten times a second
    hammer.has_been_signalled = True
    await clients
    return hammer.books


@pytest.mark.parametrize("attempt", range(3))
def test_no_client_of_a_storm_is_reset(tiny_bundle: Bundle, tmp_path: Path, attempt: int) -> None:
    """Answered before the signal, answered with `Connection: close` after it, then refused a connection."""
    with running_server(tmp_path, bundle=tiny_bundle.path, log_level="warning", decode_threads=1) as server:
        server.wait_until_ready()
        books = asyncio.run(end_in_a_storm(server))
        assert server.process.wait(timeout=60) == 0
    assert books.lost == {}
    assert books.ends.keys() - {CROSSED} == {200, 503, REFUSED}
    assert books.ends[CROSSED] <= 1
    assert books.kept_after_signal == 0


def wait_until_nobody_listens(server: ServerProcess) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("the server goes on listening")


def test_a_request_that_has_begun_when_the_socket_closes_is_answered(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Its head may come as slowly as ever: the connection is not idle, and nobody may close it."""
    head = b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
    with running_server(tmp_path, bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(head[:20])
            server.terminate()
            wait_until_nobody_listens(server)
            client.sendall(head[20:])
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert server.process.wait(timeout=60) == 0


def test_an_idle_connection_is_ended_in_order(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A client in a pool hears that it is over before it asks again."""
    with running_server(tmp_path, bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as client:
            client.sendall(REQUESTS[0])
            answer = b""
            while not answer.endswith(b'{"status":"live"}'):  # which may come after its head
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            server.terminate()
            assert client.recv(65536) == b""
        assert server.process.wait(timeout=60) == 0
