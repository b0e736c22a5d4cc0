"""Loads a server over keep-alive connections and says how it answered.

    python -m tests.benchmarks.load PORT FOLDER --clients 32       # closed loop: who has an answer sends again
    python -m tests.benchmarks.load PORT FOLDER --per-second 200   # open loop: Poisson arrivals

FOLDER holds whole HTTP requests, one a file, which are sent in turn. In an open loop a latency begins when the request
was due, so a server that stalls is charged for all who would have come meanwhile. Only a 200 that names a label is an
answer; anything else has failed. Prints one JSON object.

Lean on purpose, plain sockets and epoll: what the load generator costs, the server on the same machine has not.
"""

import argparse
import contextlib
import json
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import NamedTuple

MOST_CONNECTIONS = 512
# A picture's request fits in, so that sending one never waits for the server to read it.
_SEND_BUFFER_BYTES = 2**22
_PATIENCE_SECONDS = 15.0


class Exchange(NamedTuple):
    """A request and what became of it; seconds of time.perf_counter."""

    due: float
    ended: float
    is_answered: bool


class Connection:
    """One keep-alive connection with at most one request on it, `due` then, or None."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.connect()

    def connect(self) -> None:
        """Connect, or connect anew."""
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due: float | None = None
        self.is_lost = False
        self._received = b""

    def send(self, request: bytes, due: float) -> None:
        """Send a request; where the server has closed the connection, `receive` will find out."""
        self.due = due
        with contextlib.suppress(OSError):
            self.socket.sendall(request)

    def receive(self) -> bool | None:
        """Read what has come: None if more is to come, else whether it is an answer."""
        try:
            data = self.socket.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self.is_lost = True
            return False
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < content_length(head):
            return None
        self._received = b""
        return head.startswith(b"HTTP/1.1 200") and b'"label"' in body


def content_length(head: bytes) -> int:
    """Return how many bytes follow *head*."""
    _, _, rest = head.lower().partition(b"content-length: ")
    return int(rest.partition(b"\r\n")[0])


class Receiver:
    """Takes the answers of all connections; *on_end* is given each connection that is free again."""

    def __init__(self, on_end: Callable[[Connection], None]) -> None:
        self.exchanges: list[Exchange] = []
        self._on_end = on_end
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}

    def watch(self, connection: Connection) -> None:
        """Take the answers of *connection* from now on."""
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)

    def take(self, wait_seconds: float) -> None:
        """Take what has come, or what comes within *wait_seconds*."""
        for number, _ in self._epoll.poll(wait_seconds):
            connection = self._connections[number]
            is_answered = connection.receive()
            if is_answered is None:
                continue
            due = connection.due
            if connection.is_lost:
                self._renew(connection)
            if due is None:  # an idle connection that the server has closed
                continue
            connection.due = None
            self.exchanges.append(Exchange(due, time.perf_counter(), is_answered))
            self._on_end(connection)

    def unanswered(self) -> list[float]:
        """Return when each request was due that is still on its way."""
        return [connection.due for connection in self._connections.values() if connection.due is not None]

    def given_up(self) -> list[Exchange]:
        """Return the requests that are still on their way as failed: they are as late as the wait for them was long."""
        return [Exchange(due, time.perf_counter(), False) for due in self.unanswered()]

    def _renew(self, connection: Connection) -> None:
        del self._connections[connection.socket.fileno()]
        connection.socket.close()  # which takes it out of epoll too
        connection.connect()
        self.watch(connection)


def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> list[Exchange]:
    """Keep *clients* requests on their way for *seconds*, then wait for the last answers."""
    turns = cycle(requests)
    ends_at = time.perf_counter() + seconds

    def send(connection: Connection) -> None:
        if (now := time.perf_counter()) < ends_at:
            connection.send(next(turns), now)

    receiver = Receiver(send)
    for _ in range(clients):
        connection = Connection(port)
        receiver.watch(connection)
        send(connection)
    while receiver.unanswered() and time.perf_counter() < ends_at + _PATIENCE_SECONDS:
        receiver.take(0.1)
    return receiver.exchanges + receiver.given_up()


def poisson_arrivals(per_second: float, seconds: float, seed: int) -> list[float]:
    """Return when requests are due, in seconds from the start: the gaps between them are exponential."""
    random = Random(seed)
    arrivals = []
    due = random.expovariate(per_second)
    while due < seconds:
        arrivals.append(due)
        due += random.expovariate(per_second)
    return arrivals


def open_loop(port: int, requests: Sequence[bytes], per_second: float, seconds: float, seed: int) -> list[Exchange]:
    """Send each request when it is due and a connection is free, of which there are as many as it takes, to a limit."""
    free: SimpleQueue[Connection] = SimpleQueue()
    receiver = Receiver(free.put)
    is_over = threading.Event()
    thread = threading.Thread(target=_take_until, args=(receiver, is_over))
    thread.start()
    turns = cycle(requests)
    opened = 0
    arrivals = poisson_arrivals(per_second, seconds, seed)
    started_at = time.perf_counter()
    for arrival in arrivals:
        due = started_at + arrival
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            connection = free.get(block=opened == MOST_CONNECTIONS, timeout=_PATIENCE_SECONDS)
        except Empty:
            connection = Connection(port)
            opened += 1
            receiver.watch(connection)
        connection.send(next(turns), due)
    gives_up_at = time.perf_counter() + _PATIENCE_SECONDS
    while len(receiver.exchanges) < len(arrivals) and time.perf_counter() < gives_up_at:
        time.sleep(0.01)
    is_over.set()
    thread.join()
    return receiver.exchanges + receiver.given_up()


def _take_until(receiver: Receiver, is_over: threading.Event) -> None:
    while not is_over.is_set():
        receiver.take(0.1)


def percentile(ranked: Sequence[float], percent: float) -> float:
    """Return the smallest of *ranked*, ascending, that *percent* of them do not exceed."""
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def summary(exchanges: Sequence[Exchange], begins: float, ends: float) -> dict[str, float]:
    """Return the rate and the latencies between two times; `exchanges` counts those before, too."""
    ended = [one for one in exchanges if begins <= one.ended < ends and one.is_answered]
    due = [one for one in exchanges if begins <= one.due < ends]
    ranked_ms = sorted(1000 * (one.ended - one.due) for one in due) or [math.nan]
    return {
        "requests_per_second": len(ended) / (ends - begins),
        **{f"p{percent}_ms": percentile(ranked_ms, percent) for percent in (50, 95, 99)},
        "exchanges": len(exchanges),
        "failed": sum(not one.is_answered for one in exchanges),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path, help="whole HTTP requests, one a file")
    loop = parser.add_mutually_exclusive_group(required=True)
    loop.add_argument("--clients", type=int)
    loop.add_argument("--per-second", type=float)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warm-up-seconds", type=float, default=0.5, help="before that, of the same load")
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals")
    args = parser.parse_args()
    requests = [path.read_bytes() for path in sorted(args.folder.iterdir())]
    in_all = args.warm_up_seconds + args.seconds
    started_at = time.perf_counter()
    if args.clients:
        exchanges = closed_loop(args.port, requests, args.clients, in_all)
    else:
        exchanges = open_loop(args.port, requests, args.per_second, in_all, args.seed)
    print(json.dumps(summary(exchanges, started_at + args.warm_up_seconds, started_at + in_all)))


if __name__ == "__main__":
    main()
