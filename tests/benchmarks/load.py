"""A closed loop of keep-alive clients over raw sockets: `python -m tests.benchmarks.load PORT FOLDER CLIENTS SECONDS`.

Lean on purpose: what the load generator costs, the server on the same machine has not. Prints one JSON object.
"""

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast


class Client(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], latencies_ms: list[float], statuses: dict[str, int]) -> None:
        self._requests = requests
        self._latencies_ms = latencies_ms
        self._statuses = statuses
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator or len(body) < content_length(head):
            return
        self._latencies_ms.append(1000 * (time.perf_counter() - self._sent_at))
        status = head[9:12].decode()
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._answer = b""
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._requests))


def content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length: ")
    return int(rest.partition(b"\r\n")[0])


def read_requests(folder: Path) -> list[bytes]:
    bodies = [path.read_bytes() for path in sorted(folder.iterdir())]
    return [b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body for body in bodies]


async def drive(port: int, folder: Path, clients: int, seconds: float) -> dict[str, object]:
    requests = itertools.cycle(read_requests(folder))
    latencies_ms: list[float] = []
    statuses: dict[str, int] = {}
    loop = asyncio.get_running_loop()
    started_at = time.perf_counter()
    connections = [
        await loop.create_connection(lambda: Client(requests, latencies_ms, statuses), "127.0.0.1", port)
        for _ in range(clients)
    ]
    await asyncio.sleep(seconds)
    answered, elapsed = len(latencies_ms), time.perf_counter() - started_at
    for transport, _ in connections:
        transport.abort()
    ranked = sorted(latencies_ms)
    return {
        "requests_per_second": answered / elapsed,
        "p50_ms": ranked[len(ranked) // 2],
        "p99_ms": ranked[len(ranked) * 99 // 100],
        "statuses": statuses,
    }


def main() -> None:
    port, folder, clients, seconds = sys.argv[1:]
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    print(json.dumps(asyncio.run(drive(int(port), Path(folder), int(clients), float(seconds)))))


if __name__ == "__main__":
    main()
