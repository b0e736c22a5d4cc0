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
from functools import cached_property, partial
from typing import Any

import ray
import ray.data

from service.bundle import read_bundle
from service.errors import MosGuardError
from training.bulk.parts import score_part
from training.bulk.run import Job, Workers
from training.bulk.sources import Part
from training.errors import ScoringError
from training.scoring.judging import LocalJudge

INIT_DEATHS = 3  # of actors one after the other, before a run gives up


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
    _configure()
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    pool = pool_for(machines, cores)
    numbers = ray.data.from_items([{"number": number} for number in parts], override_num_blocks=len(parts))
    scored = numbers.map(
        _Actor,  # type: ignore[arg-type]  # a class of callables, which Ray takes too
        fn_constructor_args=(job, dict(parts), pool.cores),
        compute=ray.data.ActorPoolStrategy(size=min(pool.actors, len(parts))),
        num_cpus=pool.cores,
        num_gpus=pool.gpus,
    )
    try:
        for row in scored.iter_rows():
            advance(int(row["pictures"]))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, MosGuardError):
            raise cause from error
        raise ScoringError(
            f"Ray could not go on ({type(error).__name__}); mend what its logs tell and run the same command again."
        ) from error


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here tells its makers nothing
    # Its core warns of every pool of actors that they may not be restarted once this process is gone.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray.init(address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ScoringError(
            f"The Ray cluster {address!r} cannot be joined ({said}); start one, or name `local`."
        ) from error


def _configure() -> None:
    """Let actors take their time and start again, and leave the telling to us."""
    context = ray.data.DataContext.get_current()
    context.execution_no_progress_timeout_s = -1  # a part of a large model may take as long as it likes
    context.max_consecutive_actor_init_deaths = INIT_DEATHS
    context.raise_original_map_exception = True
    context.enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        # Ray's log files keep the rest; and handlers of this process's own, which Ray takes up too, go on telling.
        if isinstance(handler, logging.StreamHandler) and handler not in logging.root.handlers:
            handler.setLevel(logging.CRITICAL)


class _Actor:
    """A bundle that is read once, for parts by their numbers."""

    def __init__(self, job: Job, parts: Mapping[int, Part], threads: int) -> None:
        self._job = job
        self._parts = parts
        self._threads = threads

    @cached_property
    def _judge(self) -> LocalJudge:
        # Not when the actor starts: of what goes wrong then, Ray hands over a text and not the error.
        return LocalJudge(read_bundle(self._job.bundle), threads=self._threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["number"])
        if self._job.results.has(number):  # by an actor that died before it could say so
            return {"pictures": 0}
        return {"pictures": score_part(self._judge, self._job.results, number, self._parts[number])}
