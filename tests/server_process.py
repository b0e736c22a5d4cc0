"""A real server process on a free port of 127.0.0.1, for tests and benchmarks."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120


@dataclass
class ServerProcess:
    """One `python -m service` and where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        self.wait_until(200)

    def wait_until(self, ready_status: int) -> httpx.Response:
        """Wait until /health/ready answers *ready_status*."""
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at:
            assert self.process.poll() is None, f"the server exited: {self.log.read_text()}"
            with contextlib.suppress(httpx.TransportError):
                response = httpx.get(f"{self.url}/health/ready", timeout=30)
                if response.status_code == ready_status:
                    return response
            time.sleep(0.05)
        raise AssertionError(f"/health/ready never answered {ready_status}: {self.log.read_text()}")

    def metric(self, sample: str) -> float:
        """Return the value of one sample of /metrics, named as it is printed; 0 where it is not there yet."""
        for line in httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines():
            if line.rpartition(" ")[0] == sample:
                return float(line.rpartition(" ")[2])
        return 0.0

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def free_port() -> int:
    """Return a port that nobody else is given for the next minute, but on which a server may listen.

    The system keeps the port of a connection that it closed itself (TIME_WAIT) from everyone who asks for any port.
    """
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        port: int = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listening.accept()[0].close()
        return port


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return this process's environment with no MOS_ variable but *settings*, unprefixed, nor one of OTEL_."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MOS_", "OTEL_"))}
    return kept | {f"MOS_{name.upper()}": str(value) for name, value in settings.items()}


@contextlib.contextmanager
def running_server(
    folder: Path, *, module: str = "service", variables: Mapping[str, str] | None = None, **settings: object
) -> Iterator[ServerProcess]:
    """Start the service with *settings*, in *folder*, where its log goes; it is ended with the block.

    *module* is what runs: the service, or one of the tests' that is the service but for a fault. *variables* are what
    its environment has beside its settings.
    """
    port = free_port()
    log = folder / f"server-{port}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment({"port": port, "provider": "cpu"} | settings)
            | {"PYTHONPATH": str(ROOT), **(variables or {})},
            cwd=folder,
            stdout=sink,
            stderr=sink,
        )
    with ended_with_the_block(process):
        yield ServerProcess(process, port, log)


@contextlib.contextmanager
def ended_with_the_block(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ask *process* to end when the block is left, and kill it where it does not; then that is an error."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
