"""How much of the engine's rate the HTTP server keeps: `python -m tests.benchmarks.throughput`.

The ceiling is measured in this process: the same bytes, decoded in as many threads, the same engine, the best batch
size of 1 to 64. The two take turns in short rounds, so that whatever else the machine does meets both. The load comes
from `wrk` where it is installed, else from tests/benchmarks/load.py; either runs on the same machine and costs it time.
"""

import argparse
import io
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from service.bundle import read_bundle
from service.inference.engine import Engine
from service.preprocess import decode
from service.settings import Settings
from tests.server_process import ROOT, ServerProcess, running_server

SHARED_DATA = ROOT.parent / "shared" / "data"
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
TARGET_RATIO = 0.6

WRK_SCRIPT = """
local requests, current = {}, 0
function init(args)
  for path in io.popen('ls "' .. args[1] .. '"'):lines() do
    local file = assert(io.open(args[1] .. "/" .. path, "rb"))
    requests[#requests + 1] = wrk.format("POST", "/predict", nil, file:read("*a"))
    file:close()
  end
end
function request()
  current = current % #requests + 1
  return requests[current]
end
"""


class Ceiling:
    """Decode threads and the engine, without HTTP, batcher or verdict."""

    def __init__(self, settings: Settings, bodies: list[bytes]) -> None:
        bundle = read_bundle(settings.bundle)
        self._engine = Engine(
            bundle,
            provider=settings.provider,
            intra_op_threads=settings.intra_op_threads,
            max_batch_size=max(BATCH_SIZES),
        )
        self._engine.warm_up()
        spec = bundle.manifest.input
        self._decode = partial(decode, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale)
        self._threads = settings.decode_threads
        self._bodies = bodies

    def images_per_second(self, batch_size: int, seconds: float) -> float:
        """Keep the decode threads a batch ahead of the engine for *seconds*."""
        bodies = itertools.cycle(self._bodies)
        count = 0
        with ThreadPoolExecutor(self._threads) as pool:
            ahead = deque(pool.submit(self._decode, next(bodies)) for _ in range(batch_size + 2 * self._threads))
            started_at = time.perf_counter()
            while (elapsed := time.perf_counter() - started_at) < seconds:
                images = []
                for _ in range(batch_size):
                    images.append(ahead.popleft().result())
                    ahead.append(pool.submit(self._decode, next(bodies)))
                count += len(self._engine.predict(np.stack(images)))
        return count / elapsed

    def best_batch_size(self, seconds: float) -> int:
        return max(BATCH_SIZES, key=lambda size: self.images_per_second(size, seconds))


def requests_per_second(server: ServerProcess, folder: Path, clients: int, seconds: float) -> float:
    """Drive the server with a closed loop of keep-alive clients; every answer must be 200."""
    if shutil.which("wrk"):
        script = folder.with_suffix(".lua")
        script.write_text(WRK_SCRIPT)
        command = [
            "wrk",
            "-t1",
            "--timeout",
            "60s",
            f"-c{clients}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            str(script),
            server.url,
            "--",
        ]
        printed = subprocess.run([*command, str(folder)], check=True, capture_output=True, text=True).stdout
        assert "Non-2xx" not in printed, printed
        assert "Socket errors" not in printed, printed
        return float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1])  # type: ignore[index]
    command = [sys.executable, "-m", "tests.benchmarks.load", str(server.port), str(folder), str(clients), str(seconds)]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    assert set(measured["statuses"]) == {"200"}, measured
    return float(measured["requests_per_second"])


def photos() -> list[bytes]:
    """A hundred photos of ordinary size; made ones where the public ones are not here."""
    if (SHARED_DATA / "photos.tar").exists():
        with tarfile.open(SHARED_DATA / "photos.tar") as archive:
            return [file.read() for member in archive if member.isfile() and (file := archive.extractfile(member))]
    return list(made_pictures("JPEG", (500, 375), 20))


def small_pngs() -> list[bytes]:
    """PNGs of 32 x 32."""
    return list(made_pictures("PNG", (32, 32), 100))


def made_pictures(kind: str, size: tuple[int, int], count: int) -> Iterator[bytes]:
    random = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        buffer = io.BytesIO()
        coarse.resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
        yield buffer.getvalue()


def compare(
    name: str, bodies: list[bytes], server: ServerProcess, settings: Settings, args: argparse.Namespace
) -> float:
    """Print both rates of *bodies*, round by round, and return their ratio."""
    ceiling = Ceiling(settings, bodies)
    batch_size = ceiling.best_batch_size(args.seconds / 3)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bodies"
        folder.mkdir()
        for index, body in enumerate(bodies):
            (folder / f"{index:04}").write_bytes(body)
        requests_per_second(server, folder, args.clients, 1)  # the first second is the connections' and caches'
        rounds = [
            (
                requests_per_second(server, folder, args.clients, args.seconds),
                ceiling.images_per_second(batch_size, args.seconds),
            )
            for _ in range(args.rounds)
        ]
    served, possible = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    average_kib = statistics.mean(map(len, bodies)) / 1024
    print(f"{name}: {len(bodies)} bodies of {average_kib:.1f} KiB on average, {args.clients} clients")
    for with_http, without in rounds:
        print(f"  round: {with_http:8.1f} requests/s with HTTP, {without:8.1f} images/s without")
    print(f"  median: {served:7.1f} with, {possible:8.1f} without at its best batch size {batch_size};", end=" ")
    print(f"ratio {served / possible:.2f} (wanted: {TARGET_RATIO})")
    return served / possible


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement, in seconds")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind, alternating")
    parser.add_argument("--clients", type=int, default=32, help="keep-alive clients")
    args = parser.parse_args()
    settings = Settings()
    print(f"bundle {settings.bundle}, decode threads {settings.decode_threads}", end=", ")
    print(
        f"intra-op threads {settings.intra_op_threads or 'all'}, load by {'wrk' if shutil.which('wrk') else 'load.py'}"
    )
    chosen = settings.model_dump(include=settings.model_fields_set - {"port", "host"}, exclude_none=True)
    chosen["bundle"] = settings.bundle.resolve()
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder), **chosen) as server:
        server.wait_until_ready()
        ratios = [
            compare("photos", photos(), server, settings, args),
            compare("small PNGs", small_pngs(), server, settings, args),
        ]
    return 0 if min(ratios) >= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
