"""What it costs an answer to log and remember its verdict, and the memory: `python -m tests.benchmarks.recording`."""

import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from service.bundle import Manifest, read_bundle
from service.settings import DEFAULT_BUNDLE
from service.verdict import Verdict
from service.watch.feedback import VerdictMemory
from service.watch.verdict_log import VerdictLog
from tests.service.watch.parts import VERDICT

VERDICTS = 100_000
# Fewer than may wait for the disk, so that every one is taken.
AT_ONCE, ROUNDS = 5_000, 20


def request_ids(count: int) -> list[str]:
    return [f"{random.getrandbits(128):032x}" for _ in range(count)]


def microseconds(record: Callable[[str, int, Verdict, Manifest], None], manifest: Manifest) -> float:
    """Return the time of one call: the least of several rounds, with a pause for the disk after each."""
    times = []
    for _ in range(ROUNDS):
        ids = request_ids(AT_ONCE)
        started_at = time.perf_counter()
        for request_id in ids:
            record(request_id, 0, VERDICT, manifest)
        times.append((time.perf_counter() - started_at) / AT_ONCE * 1e6)
        time.sleep(0.3)
    return min(times)


def memory_bytes(manifest: Manifest) -> float:
    """Return the bytes of one remembered verdict, its own id and score included."""
    memory = VerdictMemory(VERDICTS)
    tracemalloc.start()
    for _ in range(VERDICTS + VERDICTS // 2):
        memory.remember(f"{random.getrandbits(128):032x}", 0, replace(VERDICT, score=random.random()), manifest)
    size_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size_bytes / VERDICTS


def main() -> None:
    manifest = read_bundle(DEFAULT_BUNDLE).manifest
    memory = VerdictMemory(VERDICTS)
    for request_id in request_ids(VERDICTS):
        memory.remember(request_id, 0, VERDICT, manifest)
    print(f"remembered, the oldest forgotten: {microseconds(memory.remember, manifest):.2f} us")
    with tempfile.TemporaryDirectory() as folder:
        for share in (1.0, 0.01):
            path = Path(folder) / f"verdicts-{share}"
            with VerdictLog(path, share=share, max_bytes=2**26, max_files=5) as log:
                print(
                    f"logged, share {share:g}: {microseconds(log.record, manifest):.2f} us, {log.dropped_lines} dropped"
                )
    print(f"memory: {memory_bytes(manifest):.0f} bytes a verdict")


if __name__ == "__main__":
    main()
