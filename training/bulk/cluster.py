"""Parts on the machines of a Ray cluster: an actor for each GPU, or for each group of cores.

Each actor reads its pictures and writes its parts by itself; what goes through Ray are numbers of parts. So source,
bundle and results must be on a disk that all machines see. Ray starts an actor that died anew, with the parts it had;
a part is written whole or not at all, so that costs time and nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
import ray.data

from service.bundle import read_bundle
from training.bulk.parts import score_part
from training.bulk.run import Job, Workers
from training.bulk.sources import Part
from training.errors import ScoringError
from training.scoring.judging import LocalJudge

INIT_DEATHS = 3  # of actors one after the other, before a bundle is taken to be what kills them


@dataclass(frozen=True)
class Pool:
    """How many actors, and what each takes."""

    actors: int
    cores: int
    gpus: int


def pool_for(machines: Sequence[Mapping[str, float]], cores: int) -> Pool:
    """The actors for machines by their resources: one for each GPU with its share of cores, or one for *cores* cores.

    No group of cores is larger than the smallest machine.
    """
    with_gpus = [machine for machine in machines if machine.get("GPU", 0) >= 1]
    if with_gpus:
        share = min(int(machine["CPU"] // machine["GPU"]) for machine in with_gpus)
        return Pool(sum(int(machine["GPU"]) for machine in with_gpus), max(1, share), 1)
    sizes = [int(machine.get("CPU", 0)) for machine in machines if machine.get("CPU", 0) >= 1]
    if not sizes:
        raise ScoringError("The Ray cluster has neither GPUs nor cores to give; add a machine that has some.")
    group = min(cores, *sizes)
    return Pool(sum(size // group for size in sizes), group, 0)


def on_ray(address: str, cores: int) -> Workers:
    """Workers of the cluster at *address*, as `ray.init` takes it: `auto`, HOST:PORT, or `local` for this machine."""
    return partial(_score, address, cores)


def _score(address: str, cores: int, job: Job, parts: Mapping[int, Part], advance: Callable[[int], None]) -> None:
    _connect(address)
    pool = pool_for([node["Resources"] for node in ray.nodes() if node["Alive"]], cores)
    numbers = ray.data.from_items([{"number": number} for number in parts], override_num_blocks=len(parts))
    scored = numbers.map(
        _Actor,
        fn_constructor_args=(job, dict(parts), pool.cores),
        compute=ray.data.ActorPoolStrategy(size=min(pool.actors, len(parts))),
        num_cpus=pool.cores,
        num_gpus=pool.gpus,
    )
    try:
        for row in scored.iter_rows():
            advance(int(row["pictures"]))
    except Exception as error:
        print(type(error), type(error).__mro__, repr(error.__cause__))
        raise


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here tells its makers nothing
    try:
        ray.init(address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ScoringError(f"There is no Ray cluster at {address!r}; start one, or name `local`.") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a part of a large model may take as long as it likes
    context.max_consecutive_actor_init_deaths = INIT_DEATHS


class _Actor:
    """A bundle that was read once, for parts by their numbers."""

    def __init__(self, job: Job, parts: Mapping[int, Part], threads: int) -> None:
        self._judge = LocalJudge(read_bundle(job.bundle), threads=threads)
        self._job = job
        self._parts = parts

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["number"])
        if self._job.results.has(number):  # by an actor that died before it could say so
            return {"pictures": 0}
        return {"pictures": score_part(self._judge, self._job.results, number, self._parts[number])}
