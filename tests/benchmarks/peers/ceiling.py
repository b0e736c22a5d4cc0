"""What decoder and session do without HTTP: `python -m tests.benchmarks.peers.ceiling BUNDLE FOLDER --search`.

FOLDER holds pictures. A split says how the cores are shared: *sessions* run batches of *batch_size* side by side, each
in *intra_op_threads* that spin for work or sleep, and *decode_threads* make pixels for them; none means that each
session's own thread decodes its batch. Prints the best split of a search, or the one given, and its pictures a second
as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from tests.benchmarks.peers.servers.model import Model, Pixels

BATCH_SIZES = (1, 4, 8, 16, 32, 64)
FINALISTS = 3


@dataclass(frozen=True)
class Split:
    """A way to share the cores between decoding and the model."""

    sessions: int
    intra_op_threads: int
    decode_threads: int
    batch_size: int
    spinning: bool = False


def shapes(cores: int) -> list[Split]:
    """Return the splits worth a try at one batch size: a session a core, or one session over all cores or one core."""
    one_each = [Split(cores, 1, threads, 16) for threads in (0, cores)]
    over_all = [Split(1, cores, threads, 16, spinning) for threads in (1, cores) for spinning in (False, True)]
    over_one = Split(1, 1, max(1, cores - 1), 16)
    return [*one_each, *over_all, over_one]


class Ceiling:
    """Pictures of one kind through the sessions of one bundle."""

    def __init__(self, bundle: Path, pictures: list[bytes]) -> None:
        self._bundle = bundle
        self._pictures = pictures
        self._models: dict[tuple[int, bool, int], Model] = {}

    def per_second(self, split: Split, seconds: float) -> float:
        """Return how many pictures a second get an answer by *split*."""
        with ThreadPoolExecutor(split.sessions) as runners, ThreadPoolExecutor(split.decode_threads or 1) as decoders:
            models = [self._model(split, number) for number in range(split.sessions)]
            return sum(runners.map(lambda model: self._one_session(model, split, decoders, seconds), models))

    def _one_session(self, model: Model, split: Split, decoders: ThreadPoolExecutor, seconds: float) -> float:
        """Keep the decoders a batch ahead of the model, where it has any."""
        turns = itertools.cycle(self._pictures)

        def pixels() -> Callable[[], Pixels]:
            if split.decode_threads:
                return decoders.submit(model.decode, next(turns)).result
            return partial(model.decode, next(turns))

        ahead = deque(pixels() for _ in range(split.batch_size + 2 * split.decode_threads))
        answered = -split.batch_size  # the first batch, which finds everything cold
        started_at = time.perf_counter()
        while answered <= 0 or time.perf_counter() - started_at < seconds:
            images = []
            for _ in range(split.batch_size):
                images.append(ahead.popleft()())
                ahead.append(pixels())
            answered += len(model.run(images))
            if answered == 0:
                started_at = time.perf_counter()
        return answered / (time.perf_counter() - started_at)

    def best(self, cores: int, seconds: float) -> Split:
        """Return the fastest split: the best shapes are tried at every batch size, the best of those for *seconds*."""

        def briefly(split: Split) -> float:
            return self.per_second(split, seconds / 4)

        kept = sorted(shapes(cores), key=briefly, reverse=True)[:FINALISTS]
        sized = [replace(split, batch_size=size) for split in kept for size in BATCH_SIZES]
        finalists = sorted(sized, key=briefly, reverse=True)[:FINALISTS]
        return max(finalists, key=lambda split: self.per_second(split, seconds))

    def _model(self, split: Split, number: int) -> Model:
        key = (split.intra_op_threads, split.spinning, number)
        if key not in self._models:
            self._models[key] = Model(self._bundle, intra_op_threads=split.intra_op_threads, spinning=split.spinning)
        return self._models[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--search", action="store_true", help="find the best split")
    what.add_argument("--split", type=json.loads, help="measure this one, a JSON object")
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    ceiling = Ceiling(args.bundle, [path.read_bytes() for path in sorted(args.folder.iterdir())])
    if args.search:
        split = ceiling.best(len(os.sched_getaffinity(0)), args.seconds)
    else:
        split = Split(**args.split)
        ceiling.per_second(split, args.seconds / 5)
    print(json.dumps({"split": asdict(split), "requests_per_second": ceiling.per_second(split, args.seconds)}))


if __name__ == "__main__":
    main()
