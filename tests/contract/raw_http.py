"""A client that sends whatever bytes it is given, and reads every answer that comes back on its connection."""

import contextlib
import json
import socket
from typing import Any, NamedTuple

from tests.server_process import ServerProcess

PATIENCE_SECONDS = 60
# Ends a conversation: where it is answered, the server still knew where one request ended and the next began.
LAST = b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Request-ID: last\r\nConnection: close\r\n\r\n"


class Answer(NamedTuple):
    """One answer; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


def converse(server: ServerProcess, *pieces: bytes, last: bytes = LAST, heads: int = 0) -> list[Answer]:
    """Send *pieces*, each in a packet, and *last*, and return all answers until the server closes the connection.

    The first *heads* answers are of HEAD and have no body.
    """
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it need not read what it has refused
            for piece in (*pieces, last):
                client.sendall(piece)
            while piece := client.recv(65536):
                received += piece
    return _answers(received, heads)


def statuses(answers: list[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def _answers(received: bytes, heads: int) -> list[Answer]:
    answers: list[Answer] = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end, received
        first, *lines = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(headers) == len(lines), "no header twice"
        size_bytes = 0 if len(answers) < heads else int(headers.get("content-length", 0))
        assert len(rest) >= size_bytes
        answers.append(Answer(int(first.split()[1]), headers, rest[:size_bytes]))
        received = rest[size_bytes:]
    return answers
