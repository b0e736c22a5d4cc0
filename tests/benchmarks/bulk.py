"""How much of the engine's rate `mos-guard score` keeps, and its memory: `python -m tests.benchmarks.bulk`.

The ceiling is that of `peers/ceiling.py`: the same bytes from memory, the best split of the cores and the best batch
size, nothing read and nothing written. `score` reads a list of files and writes Parquet.
They take turns, so that whatever else the machine does meets both.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from service.machine import usable_cores
from service.settings import DEFAULT_BUNDLE
from tests.benchmarks.peers.ceiling import Ceiling
from tests.benchmarks.pictures import made_small, photos
from tests.server_process import ROOT


def write_files(bodies: Sequence[bytes], folder: Path) -> list[Path]:
    """A file for each of some encoded pictures."""
    folder.mkdir()
    files = [folder / f"{number:06}" for number in range(len(bodies))]
    for file, body in zip(files, bodies, strict=True):
        file.write_bytes(body)
    return files


def score(files: Sequence[Path], count: int, folder: Path, *options: str) -> tuple[float, float]:
    """Score *count* pictures of some files in a process of its own: pictures a second in all, and its peak in MiB."""
    folder.mkdir()
    listing = folder / "list.txt"
    with listing.open("w") as lines:
        lines.writelines(f"{file}\n" for file in itertools.islice(itertools.cycle(files), count))
    command = [
        sys.executable,
        "-m",
        "training",
        "score",
        "--data",
        str(listing),
        "--out",
        str(folder / "out"),
        *options,
    ]
    started_at = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    assert f"{count:,} pictures" in said, (status, said)
    told = next(line for line in said.splitlines() if "a second" in line)
    print(f"    {' '.join(options) or 'here'}: {told}, {time.monotonic() - started_at:.1f} s in all")
    return float(told.rpartition("; ")[2].split()[0].replace(",", "")), usage.ru_maxrss / 1024


def compare(name: str, bodies: list[bytes], count: int, args: argparse.Namespace, folder: Path) -> None:
    """Print the ceiling and the rates of `score`, here and by each of the other ways, round by round."""
    files = write_files(bodies, folder / name)
    ceiling = Ceiling(DEFAULT_BUNDLE, bodies)
    split = ceiling.best(usable_cores(), 1)
    ways: dict[str, list[str]] = {"score": []}
    if args.ray:
        ways["score on Ray, a worker a core"] = ["--ray", "local", "--worker-cores", "1", "--part-size", "1000"]
    rates: dict[str, list[float]] = {"ceiling": [], **{way: [] for way in ways}}
    for number in range(args.rounds):
        rates["ceiling"].append(ceiling.per_second(split, args.seconds))
        for way, options in ways.items():
            rates[way].append(score(files, count, folder / f"{name}-{number}-{len(options)}", *options)[0])
    for way, measured in rates.items():
        ratio = statistics.median(measured) / statistics.median(rates["ceiling"])
        print(f"{name}: {way}: {statistics.median(measured):.0f} pictures/s, ratio {ratio:.2f} ({measured})")


def memory(bodies: list[bytes], folder: Path, counts: Sequence[int]) -> None:
    """Print the peak of the process for few pictures and for many."""
    files = write_files(bodies, folder / "memory")
    for count in counts:
        print(f"memory: {count} pictures, peak {score(files, count, folder / f'memory-{count}')[1]:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of small PNGs, instead of made ones")
    parser.add_argument("--pictures", type=int, default=20_000, help="small pictures of a run; photos are a tenth")
    parser.add_argument("--kinds", nargs="*", choices=["small", "photos"], default=["small", "photos"])
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind, alternating")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement of the ceiling")
    parser.add_argument("--ray", action="store_true", help="also with two workers of a Ray cluster on this machine")
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="numbers of pictures to measure the peak at")
    args = parser.parse_args()
    small = [file.read_bytes() for file in sorted(args.data.rglob("*.png"))] if args.data else made_small()
    with tempfile.TemporaryDirectory() as temporary:
        if "small" in args.kinds:
            compare("small", small, args.pictures, args, Path(temporary))
        if "photos" in args.kinds:
            compare("photos", photos(), args.pictures // 10, args, Path(temporary))
        memory(small[:1000], Path(temporary), args.memory)


if __name__ == "__main__":
    main()
