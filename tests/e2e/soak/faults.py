"""What goes wrong while the traffic goes on, each for a moment and each of its kind."""

import contextlib
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.drill import corrupted, turn
from tests.e2e.faulty_service import FAULT_FILE, HANG_FILE
from tests.e2e.soak.books import SoakBooks
from tests.full_disk import full_disk
from tests.server_process import ServerProcess

PATIENCE_SECONDS = 60
MOMENT_SECONDS = 0.7
CROWD = 10


@dataclass
class Stage:
    """Where the faults play: the service, its folder, the bundles that take turns, and the books."""

    server: ServerProcess
    folder: Path
    bundles: Sequence[Path]
    link: Path
    picture: bytes
    books: SoakBooks
    in_service: int = 0  # index of the bundle that was last asked for
    swaps: int = 0
    refusals: int = 0
    abandoned: int = 0  # requests to /predict that this module began, and whose answers nobody counts

    def until(self, condition: Callable[[], bool], wanted: str) -> None:
        """Wait for *condition*."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < give_up_at, f"not seen: {wanted}"
            time.sleep(0.1)

    def reloads(self, outcome: str) -> float:
        """How many bundles have come to *outcome*."""
        return self.server.metric(f'mos_bundle_reloads_total{{outcome="{outcome}"}}')


def swap(stage: Stage) -> None:
    """The other bundle is taken into service."""
    stage.in_service = (stage.in_service + 1) % len(stage.bundles)
    turn(stage.link, stage.bundles[stage.in_service])
    stage.server.process.send_signal(signal.SIGHUP)
    stage.swaps += 1
    stage.until(lambda: stage.reloads("swapped") == stage.swaps, "a swap")


def corrupt_bundle(stage: Stage) -> None:
    """A bundle with one wrong byte is refused."""
    place = stage.folder / "corrupt"
    if not place.exists():
        corrupted(stage.bundles[0], place)
    turn(stage.link, place)
    stage.server.process.send_signal(signal.SIGHUP)
    stage.refusals += 1
    stage.until(lambda: stage.reloads("refused") == stage.refusals, "a refusal")
    turn(stage.link, stage.bundles[stage.in_service])


def engine_failure(stage: Stage) -> None:
    """Every run of the model fails for a moment; the service is ready again by itself."""
    with stage.books.broken():
        (stage.folder / FAULT_FILE).touch()
        time.sleep(MOMENT_SECONDS)
        (stage.folder / FAULT_FILE).unlink()
        ready = f"{stage.server.url}/health/ready"
        stage.until(lambda: httpx.get(ready, timeout=PATIENCE_SECONDS).status_code == 200, "readiness")


def engine_hang(stage: Stage) -> None:
    """No run of the model ends for a moment; everybody waits, and nobody is refused for it."""
    (stage.folder / HANG_FILE).touch()
    time.sleep(MOMENT_SECONDS)
    (stage.folder / HANG_FILE).unlink()


def stall(stage: Stage) -> None:
    """The whole process stands still for a moment."""
    stage.server.process.send_signal(signal.SIGSTOP)
    time.sleep(MOMENT_SECONDS)
    stage.server.process.send_signal(signal.SIGCONT)


def disk_full(stage: Stage) -> None:
    """No log takes a line for a moment."""
    with full_disk(0, stage.server.process.pid):
        time.sleep(MOMENT_SECONDS)


def slow_clients(stage: Stage) -> None:
    """Some send their heads, some their bodies, a byte at a time, and give up."""
    body = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        heads, bodies = ([stack.enter_context(_connected(stage)) for _ in range(CROWD)] for _ in range(2))
        for client in bodies:
            client.sendall(body)
        stage.abandoned += len(bodies)
        for byte in b"GET /model HTTP/1.1\r\n":
            for client in heads + bodies:
                client.sendall(bytes([byte]))
            time.sleep(MOMENT_SECONDS / 20)


def aborts(stage: Stage) -> None:
    """Some reset their connections in the middle of a body, and some while they wait for their verdicts."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(stage.picture)
    for sent in (head + stage.picture[:50], head + stage.picture):
        clients = [_connected(stage) for _ in range(CROWD)]
        for client in clients:
            client.sendall(sent)
        stage.abandoned += len(clients)
        time.sleep(0.01)
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


FAULTS = (swap, corrupt_bundle, engine_failure, engine_hang, stall, disk_full, slow_clients, aborts)


def _connected(stage: Stage) -> socket.socket:
    return socket.create_connection(("127.0.0.1", stage.server.port), timeout=PATIENCE_SECONDS)
