"""What lies beneath the end without a reset: no connection begins, and those that have begun can be seen."""

import errno
import select
import socket
import sys
from collections.abc import Iterator

import pytest

from service.http.sockets import begin_no_connection, is_readable


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_connection_to_accept_makes_a_listener_readable(listener: socket.socket) -> None:
    """And once it is accepted, no more."""
    assert not is_readable(listener)
    with socket.create_connection(listener.getsockname()):
        assert is_readable(listener)
        with listener.accept()[0]:
            assert not is_readable(listener)


def test_bytes_and_the_end_make_a_connection_readable(listener: socket.socket) -> None:
    """Whatever a read would give at once."""
    with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as connection:
        assert not is_readable(connection)
        client.send(b"x")
        assert is_readable(connection)
        connection.recv(1)
        assert not is_readable(connection)
        client.shutdown(socket.SHUT_WR)
        assert is_readable(connection)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such filter")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_no_connection_begins_and_those_that_have_begun_live(address: str) -> None:
    """A client of before is accepted and heard; a new one waits, and is refused when the socket is closed."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"{address} is not here")
    with listener, socket.create_connection(listener.getsockname()[:2]) as before, socket.socket(family) as after:
        begin_no_connection(listener)
        after.setblocking(False)
        assert after.connect_ex(listener.getsockname()) != 0
        before.sendall(b"request")
        with listener.accept()[0] as connection:
            assert connection.recv(100) == b"request"
            connection.sendall(b"answer")
        assert before.recv(100) == b"answer"
        assert not is_readable(listener)
        listener.close()
        select.select([], [after], [], 30)
        assert after.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
