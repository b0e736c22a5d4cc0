"""Where a request's processor time goes, thread by thread: `python -m tests.benchmarks.threads`.

The service runs in this process, so that its threads have names; a closed loop of clients comes from another. Prints
the milliseconds of a core that each kind of thread takes a request: the event loop (HTTP, verdict, JSON, series, the
line of the log), decoding, the engine's threads, and whatever else the process runs, such as the threads of a run on
all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from service.app import create_app
from service.http.server import run
from service.settings import Settings
from service.watch.logs import configure_logging
from tests.benchmarks.peers.forms import raw
from tests.benchmarks.pictures import made_small, photos
from tests.server_process import ROOT, free_port

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> Counter[str]:
    """Return the processor time of this process's threads so far, those of one kind together."""
    names = {thread.native_id: re.sub(r"-\d+$", "", thread.name) for thread in threading.enumerate()}
    names[threading.main_thread().native_id] = "event loop"
    seconds: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        seconds[names.get(int(task.name), "other")] += (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
    return seconds


def answered(port: int, folder: Path, clients: int, seconds: float) -> int:
    command = [sys.executable, "-m", "tests.benchmarks.load", str(port), str(folder), "--clients", str(clients)]
    command += ["--seconds", str(seconds), "--warm-up-seconds", "0"]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    assert not measured["failed"], measured
    return int(measured["exchanges"])


def tell(port: int, clients: list[int], seconds: float) -> None:
    """Load the service with each kind of picture by each number of clients, print what that took, and end it."""
    while not _is_ready(port):
        time.sleep(0.05)
    print("| pictures | clients | requests/s | ms of a core a request, by thread |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for name, bodies in (("small", made_small()), ("photos", photos())):
            folder = Path(temporary) / name
            folder.mkdir()
            for index, body in enumerate(bodies):
                (folder / f"{index:04}").write_bytes(raw(body, "/predict"))
            for count in clients:
                answered(port, folder, count, 1.0)  # connections and caches
                before = cpu_seconds()
                requests = answered(port, folder, count, seconds)
                taken = {kind: 1000 * cpu / requests for kind, cpu in (cpu_seconds() - before).most_common()}
                shares = ", ".join(f"{kind} {ms:.2f}" for kind, ms in taken.items() if ms >= 0.01)
                print(
                    f"| {name} | {count} | {requests / seconds:.0f} | {sum(taken.values()):.2f}: {shares} |", flush=True
                )
    os.kill(os.getpid(), signal.SIGTERM)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    settings, port = Settings(), free_port()
    with tempfile.TemporaryFile() as sink:  # the log is written, and read by nobody
        os.dup2(sink.fileno(), 2)
        handler = configure_logging(settings.log_format, settings.log_level)
        threading.Thread(target=tell, args=(port, args.clients, args.seconds), name="load", daemon=True).start()
        run(create_app(settings, service_log=handler), host="127.0.0.1", port=port, drain_seconds=2)
        handler.close()


if __name__ == "__main__":
    main()
