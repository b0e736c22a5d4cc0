"""On Ray the rows are the same, whatever becomes of the workers."""

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle
from tests.tiny_bundle import png, write_tiny_bundle
from tests.training.bulk.material import BROKEN, GREY, RED, rows, write_folder
from training import __main__ as cli
from training.bulk import run
from training.bulk.cluster import Pool, on_ray, pool_for
from training.errors import ScoringError

PICTURES = {f"{number:02}.png": (RED, GREY, BROKEN)[number % 3] for number in range(20)}


@pytest.mark.parametrize(
    ("machines", "pool"),
    [
        ([{"CPU": 2}], Pool(actors=1, cores=2, gpus=0)),
        ([{"CPU": 16}, {"CPU": 9}], Pool(actors=6, cores=4, gpus=0)),
        ([{"CPU": 16}, {"CPU": 2}, {"memory": 1}], Pool(actors=9, cores=2, gpus=0)),
        ([{"CPU": 32, "GPU": 4}, {"CPU": 16, "GPU": 1}, {"CPU": 64}], Pool(actors=5, cores=8, gpus=1)),
        ([{"CPU": 2, "GPU": 4}], Pool(actors=4, cores=1, gpus=1)),
    ],
)
def test_an_actor_for_each_gpu_or_group_of_cores(machines: list[Mapping[str, float]], pool: Pool) -> None:
    """As many as fit on the machines, by what each has."""
    assert pool_for(machines, cores=4) == pool


def test_a_cluster_with_nothing_to_give_is_refused() -> None:
    """In place of waiting for ever."""
    with pytest.raises(ScoringError, match="neither GPUs nor cores"):
        pool_for([{"memory": 1}], cores=4)


@pytest.mark.e2e
def test_rows_are_those_of_one_machine(tiny_bundle: Bundle, tmp_path: Path, ray_address: str) -> None:
    """Verdicts and errors, from two workers."""
    data = write_folder(tmp_path / "data", PICTURES)
    here, there = tmp_path / "here", tmp_path / "there"
    run.score(tiny_bundle.path, data, here, part_size=3)
    options = {"data": data, "out": there, "bundle": tiny_bundle.path, "part-size": 3, "ray": ray_address}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["score", *arguments, "--worker-cores=1"])
    assert stopped.value.code == 1  # there are broken ones
    assert rows(there, "errors") == rows(here, "errors")
    for row, other in zip(rows(there), rows(here), strict=True):
        assert row.pop("others_scores") == pytest.approx(other.pop("others_scores"), abs=1e-6)
        assert row == {name: approximate(value) for name, value in other.items()}


def approximate(value: Any) -> Any:
    return pytest.approx(value, abs=1e-6) if isinstance(value, float) else value


@pytest.mark.e2e
def test_a_killed_worker_costs_nothing_but_time(tiny_bundle: Bundle, tmp_path: Path, ray_address: str) -> None:
    """All rows are there, none twice, though a worker was killed in the middle of a part."""
    data = write_folder(tmp_path / "data", PICTURES)
    pipe = data / "pipe"
    os.mkfifo(pipe)
    (data / "list.txt").write_text("\n".join([*PICTURES, "pipe"]))
    killer = threading.Thread(target=kill_the_first_reader_and_feed_the_others, args=(pipe,), daemon=True)
    killer.start()
    levels = [handler.level for handler in logging.root.handlers]
    summary = run.score(
        tiny_bundle.path, data / "list.txt", tmp_path / "out", part_size=3, workers=on_ray(ray_address, 1)
    )
    assert [handler.level for handler in logging.root.handlers] == levels, "this process's own log goes on telling"
    assert summary.pictures == 21
    judged = [row["path"] for table in ("verdicts", "errors") for row in rows(tmp_path / "out", table)]
    assert sorted(judged) == sorted([*PICTURES, "pipe"])
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {
        "errors",
        "listing.parquet",
        "run.json",
        "run.lock",
        "verdicts",
    }


def kill_the_first_reader_and_feed_the_others(pipe: Path) -> None:
    """A worker that reads a pipe is in the middle of a part until somebody writes to it."""
    with pipe.open("wb"):  # waits for a reader
        worker = reader_of(pipe)
        os.kill(int(worker.name), signal.SIGKILL)
        while str(pipe) in open_files(worker):  # or what follows would be written to the dead
            time.sleep(0.001)
    while True:  # Ray may give the part to more than one worker
        with suppress(BrokenPipeError), pipe.open("wb") as stream:
            stream.write(RED)
        time.sleep(0.05)


def reader_of(pipe: Path) -> Path:
    """The folder in /proc of the process, other than this one, that has the pipe open."""
    while True:
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and int(process.name) != os.getpid() and str(pipe) in open_files(process):
                return process


def open_files(process: Path) -> list[str]:
    try:
        return [str(link.readlink()) for link in (process / "fd").iterdir()]
    except OSError:
        return []


@pytest.mark.e2e
def test_what_goes_wrong_there_is_one_sentence_here(tmp_path: Path, ray_address: str) -> None:
    """The model's failure, as if it had been here."""
    bundle = write_tiny_bundle(tmp_path / "bundle", fail_on_white=True)
    data = write_folder(tmp_path / "data", {"0.png": RED, "1.png": png((255, 255, 255))})
    with pytest.raises(ScoringError, match=r"pictures from 0\.png on"):
        run.score(bundle.path, data, tmp_path / "out", part_size=3, workers=on_ray(ray_address, 1))
