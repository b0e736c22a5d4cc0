"""How fast pictures reach the network, and how much memory that takes.

    python -m tests.benchmarks.loading [ROUNDS]

Pictures are generated JPEGs of 64 and of 500 pixels in tar shards, squashed to the 64 and 480 they are fitted at.
Bare decoding is `read_picture` in a process for each core, whose pixels nobody collects. All rates are pictures a
second; what is compared is measured in turns, and medians are printed with the ratio of each pair of turns.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.data.pixels import Pictures, read_picture
from training.data.sets import DataSet, read_data_set
from training.fitting.batches import Batch, Batches, picture_batches
from training.fitting.loop import Objective, take_step
from training.fitting.recipes import one_cycle
from training.grouping.groups import Grouping
from training.machine import usable_cores
from training.model.backbones import backbone
from training.model.network import Network

CASES = {64: (64, 24_000, 128), 500: (480, 1_200, 16)}  # pixels: (side fitted at, pictures, batch)
MEMORY_COUNTS = (20_000, 200_000)
VARIANTS = 64  # different pictures; the rest repeat them
PER_SHARD = 10_000
STEPS = 40  # batches with a network
WARM_UP = 8  # batches before the clock starts: workers are started, and their queues are filled


def write_shards(folder: Path, side: int, count: int) -> DataSet:
    """A data set of generated photographs, about as hard to decode as real ones of that size."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(side)
    encoded = [_jpeg(generator, side) for _ in range(VARIANTS)]
    for start in range(0, count, PER_SHARD):
        with tarfile.open(folder / f"{start:07d}.tar", "w") as shard:
            for index in range(start, min(start + PER_SHARD, count)):
                _add(shard, f"{index:07d}.jpg", encoded[index % VARIANTS])
                _add(shard, f"{index:07d}.cls", b"%d" % (index % 10))
    return read_data_set(folder)


def bare(data: DataSet, side: int, pool: multiprocessing.pool.Pool) -> float:
    """Decoding alone, in a process for each core."""
    edges = np.linspace(0, len(data), usable_cores() * 8 + 1).astype(int).tolist()
    tasks = [(data, start, stop, side) for start, stop in pairwise(edges)]
    started = time.perf_counter()
    pool.starmap(_decode, tasks, chunksize=1)
    return len(data) / (time.perf_counter() - started)


def stream(data: DataSet, side: int, batch_size: int, workers: int) -> Iterator[Batch]:
    """The batches of one epoch as a fit reads them."""
    return (batch for _, batch in _batches(data, side, batch_size, workers).stream(0))


def rate(batches: Iterator[Batch], use: Callable[[Batch], object] = lambda batch: None, most: int = 10_000) -> float:
    """Pictures a second once the workers are up, over `most` batches."""
    for batch in islice(batches, WARM_UP):
        use(batch)
    started, count = time.perf_counter(), 0
    for batch in islice(batches, most):
        use(batch)
        count += batch.size
    return count / (time.perf_counter() - started)


def fitting_step(batch_size: int) -> Callable[[Batch], object]:
    """A step of a small network, of one thread, on 60 to 64 pixels a side: large pictures are thinned out for it."""
    recipe = one_cycle(epochs=1, batch_size=batch_size)
    network = Network(backbone("R11-tiny"), Grouping(("a", "b"), (tuple(range(5)), tuple(range(5, 10)))))
    objective, optimizer = Objective(network, recipe, on_features=False), torch.optim.SGD(network.parameters(), 0.01)

    def step(batch: Batch) -> None:
        every = max(1, batch.inputs.shape[1] // 60)
        thinned = batch._replace(inputs=batch.inputs[:, ::every, ::every])
        take_step(objective, thinned, recipe, optimizer)

    return step


def read_share(folder: Path, side: int, batch_size: int, rank: int, world_size: int, workers: int) -> None:
    """One of several processes that share batches; prints pictures read, wall seconds and CPU seconds of all of it."""
    batches = _batches(read_data_set(folder), side, batch_size, workers)
    batches.rank, batches.world_size = rank, world_size
    started, count, cpu = time.perf_counter(), 0, 0.0
    for step, (_, batch) in enumerate(batches.stream(0), 1):
        count += len(batch.labels)
        if step == batches.steps:  # before the workers are gone
            cpu = sum(_cpu_seconds(pid) for pid in _family())
    print(count, time.perf_counter() - started, cpu)


def peak_memory(folder: Path) -> None:
    """Prints MiB while an epoch is read: the largest of this process, and of it with its workers (shared once)."""
    torch.set_num_threads(1)
    batches = _batches(read_data_set(folder), 32, 128, usable_cores())
    together = 0.0
    for step, _ in batches.stream(0):
        if step % 50 == 0 or step == batches.steps - 1:
            together = max(together, sum(_pss_mib(pid) for pid in _family()))
    print(_peak_mib(os.getpid()), together)


def main(rounds: int = 3) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    cores = usable_cores()
    print(f"{cores} cores, {rounds} rounds")
    with tempfile.TemporaryDirectory() as home, multiprocessing.get_context("forkserver").Pool(cores) as pool:
        for pixels, (side, count, batch_size) in CASES.items():
            data = write_shards(Path(home) / str(pixels), pixels, count)
            _rates(data, pixels, side, batch_size, pool, rounds)
            _shares(data.root, pixels, side, batch_size, rounds)
        for count in MEMORY_COUNTS:
            folder = Path(home) / f"memory{count}"
            write_shards(folder, 64, count)
            own, together = map(float, _child(f"peak_memory(Path({str(folder)!r}))"))
            print(f"{count:7d} pictures: peak {own:.0f} MiB in the process that fits, {together:.0f} with its workers")


def _rates(
    data: DataSet, pixels: int, side: int, batch_size: int, pool: multiprocessing.pool.Pool, rounds: int
) -> None:
    cores = usable_cores()
    bare(data, side, pool)
    step = fitting_step(batch_size)
    some = next(stream(data, side, batch_size, 0))
    # A core for the network and the others for reading, as on a machine whose network runs on a GPU.
    readers = max(1, cores - 1)
    rows = []
    for _ in range(rounds):
        decoding, loading = bare(data, side, pool), rate(stream(data, side, batch_size, cores))
        reading = rate(stream(data, side, batch_size, readers), most=STEPS)
        network = rate(iter([some] * (WARM_UP + STEPS)), step)
        together = rate(stream(data, side, batch_size, readers), step, most=STEPS)
        rows.append((decoding, loading, reading, network, together, min(reading, network)))
    decoding, loading, reading, network, together, _ = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{pixels} px: bare decoding on {cores} cores {decoding:.0f}")
    print(f"{pixels} px: loader of {cores} workers {loading:.0f}, {_ratio(rows, 1, 0)} of bare decoding")
    print(f"{pixels} px: loader of {readers} alone {reading:.0f}, a network of one thread alone {network:.0f}")
    print(f"{pixels} px: both at once {together:.0f}, {_ratio(rows, 4, 5)} of the slower of the two")


def _shares(folder: Path, pixels: int, side: int, batch_size: int, rounds: int) -> None:
    rows = []
    for _ in range(rounds):
        one = _children([_share(folder, side, batch_size, 0, 1, 2)])
        two = _children([_share(folder, side, batch_size, rank, 2, 1) for rank in range(2)])
        rows.append((one[1], two[1], one[2], two[2]))
        read = int(one[0]), int(two[0])
    print(f"{pixels} px: pictures read by one process of two workers {read[0]}, by two of one worker {read[1]}")
    print(f"{pixels} px: two processes against one: time {_ratio(rows, 1, 0)}, CPU time {_ratio(rows, 3, 2)}")


def _share(*arguments: object) -> str:
    folder, *numbers = arguments
    return f"read_share(Path({str(folder)!r}), {', '.join(map(str, numbers))})"


def _children(calls: list[str]) -> tuple[float, float, float]:
    """Pictures of all, wall seconds of the slowest, and CPU seconds of all."""
    with ThreadPoolExecutor(len(calls)) as threads:
        rows = [tuple(map(float, line)) for line in threads.map(_child, calls)]
    return sum(row[0] for row in rows), max(row[1] for row in rows), sum(row[2] for row in rows)


def _child(call: str) -> list[str]:
    """The words that a call prints in a process of its own."""
    code = f"from pathlib import Path\nfrom tests.benchmarks.loading import *\nif __name__ == '__main__': {call}"
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(code)
        script.flush()
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, script.name], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.split()


def _batches(data: DataSet, side: int, batch_size: int, workers: int) -> Batches:
    recipe = replace(one_cycle(epochs=1, batch_size=batch_size), augmentation="flip")
    return picture_batches(Pictures(data), side, side, recipe, workers=workers)


def _decode(data: DataSet, start: int, stop: int, side: int) -> None:
    for path in data.paths[start:stop]:
        read_picture(data.root / path, height=side, width=side)


def _jpeg(generator: np.random.Generator, side: int) -> bytes:
    """Smooth colours with some fine structure: a 500 px one takes about as many bytes as a photograph does."""
    coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    fine = generator.normal(0, 12, (side, side, 3))
    pixels = np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    shard.addfile(info, io.BytesIO(content))


def _ratio(rows: list[tuple[float, ...]], column: int, of: int) -> str:
    ratios = sorted(row[column] / row[of] for row in rows)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _family() -> list[int]:
    """This process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])
            except OSError:
                continue
    family = [os.getpid()]
    for member in family:
        family += [pid for pid, parent in parents.items() if parent == member]
    return family


def _pss_mib(pid: int) -> float:
    """Memory of a process, what it shares divided by those that share it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
