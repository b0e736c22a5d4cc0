"""What a browser is told by a running server, on answers that the application never sees too."""

import socket
from collections.abc import Iterator

import pytest

from service.bundle import Bundle
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server"), bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        yield server


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /model HTTP/1.1", 200), ("GET /nope HTTP/1.1", 404), ("no HTTP at all", 400)],
)
def test_every_answer_has_the_headers_once_and_names_no_server(
    server: ServerProcess, request_line: str, status: int
) -> None:
    """What the parser refuses is answered by another part, with the same headers."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(f"{request_line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    first, *lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert lines.count("x-content-type-options: nosniff") == 1
    assert lines.count("referrer-policy: no-referrer") == 1
    assert lines.count("cache-control: no-store") == 1
    assert lines.count("content-security-policy: default-src 'none'; frame-ancestors 'none'") == 1
    assert not any(line.startswith("server:") for line in lines)
