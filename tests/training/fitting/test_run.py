"""The folder of a run: one run's, whole, and never another's."""

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training import __main__ as cli
from training.data.splits import CALIBRATION, VALIDATION
from training.errors import CheckpointError
from training.fitting.recipes import paper
from training.fitting.run import RunConfig, close_run, load_run, open_run
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network
from training.reproduction import Settings, settings

COMMON = ["--open-blocks", "all", "--backbone", "R11-tiny", "--epochs", "1", "--size", "16"]


def run(*command: object) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(part) for part in command])
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def finished(demo_data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a finished run is in, as `run`."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("train", "--data", demo_data["train"], "--out", "run", *COMMON) == 0
    return folder


@pytest.fixture
def out(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, and this process where it was run."""
    shutil.copytree(finished / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Path("run")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--grouping", "random:3"], "grouping"),
        (["--size", "24"], "size"),
        (["--calibration", "0.3"], "calibration"),
        (["--learning-rate", "0.01"], "recipe"),
    ],
)
def test_a_run_is_not_resumed_as_another(
    out: Path, demo_data: dict[str, Path], more: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence names what differs, and the finished run's files stay."""
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    assert run("train", "--data", demo_data["train"], "--out", out, *COMMON, *more) == 1
    assert f"another {named}" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before


def test_a_run_from_other_weights_is_another(
    out: Path, demo_data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoint would overwrite the weights that were asked for."""
    weights = ("--weights", out / "network.pt")
    assert run("train", "--data", demo_data["train"], "--out", out, *COMMON, *weights) == 1
    assert "another weights" in capsys.readouterr().err


def test_a_finished_run_reads_back_as_it_was_written(demo_data: dict[str, Path], tmp_path: Path) -> None:
    """Every setting, the groups, the weights, and which pictures were held out, with substitutes and a seed too."""
    data = tmp_path / "data"
    shutil.copytree(demo_data["train"], data)
    next(data.rglob("*.png")).write_bytes(b"broken")
    config = RunConfig(
        data=data,
        out=tmp_path / "run",
        backbone="R11-tiny",
        weights=tmp_path / "start.pt",
        open_blocks=2,
        online=True,
        grouping="folders",
        size=16,
        load_size=18,
        features=tmp_path / "features",
        views=3,
        calibration=0.2,
        validation=0.1,
        recipe=paper(100, Settings(), micro_batch=4, seed=5),
        settings=settings("official", ["kl_templates=paper"]),
        half_features=True,
        outliers=(str(tmp_path / "foreign"), "procedural"),
        teacher=tmp_path / "teacher",
        decide_by="mos+knn",
        group_by=r"shop(\d+)",
    )
    parts = config.split(config.read())
    grouping = Grouping(("all",), (tuple(range(len(parts.whole.classes))),))
    network = Network(backbone("R11-tiny"), grouping)
    open_run(config, grouping, parts)
    close_run(config.out, network)
    read = load_run(config.out)
    assert (read.config, read.classes, read.grouping) == (config, parts.whole.classes, grouping)
    assert all(torch.equal(value, read.network.state_dict()[name]) for name, value in network.state_dict().items())
    again = read.split()
    for name in ("calibration", "validation", "fitted"):
        assert list(getattr(again, name).paths) == list(getattr(parts, name).paths)
    elsewhere = replace(config, out=tmp_path / "other", recipe=replace(config.recipe, seed=6))
    other_seed = elsewhere.split(elsewhere.read())
    assert list(other_seed.fitted.paths) != list(parts.fitted.paths)
    assert not any((data / path).read_bytes() == b"broken" for path in parts.whole.paths)


def test_a_run_keeps_the_split_that_it_drew(out: Path) -> None:
    """Read back from its folder, whatever would be drawn today; another folder draws anew."""
    finished = load_run(out)
    parts = finished.split()
    moved = parts.part
    moved[[parts.calibration_rows[0], parts.validation_rows[0]]] = VALIDATION, CALIBRATION
    np.savez(out / "split.npz", part=moved, series=parts.series)
    assert (load_run(out).split().part == moved).all()
    assert (finished.config.split(parts.whole).part == moved).all()
    assert (replace(finished.config, out=out / "other").split(parts.whole).part != moved).any()


def test_a_damaged_split_is_one_sentence(out: Path) -> None:
    """What was held out is not known then."""
    (out / "split.npz").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"split\.npz is damaged"):
        load_run(out).split()


def test_series_by_pattern_are_on_one_side_and_in_the_provenance(
    finished: Path, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """The last digit of a picture's name stands for a shop here."""
    pattern = r"(\d)\.png$"
    command = ("train", "--data", demo_data["train"], "--out", tmp_path / "run", *COMMON, "--group-by", pattern)
    assert run(*command) == 0
    parts = load_run(tmp_path / "run").split()
    shops = [{path[-5] for path in part.paths} for part in (parts.calibration, parts.fitted)]
    assert len(parts.calibration) > 0
    assert not shops[0] & shops[1]
    assert json.loads((tmp_path / "run" / "bundle" / "bundle.json").read_text())["training"]["group_by"] == pattern


def test_the_same_command_again_ends_at_once_with_the_same_weights(out: Path, demo_data: dict[str, Path]) -> None:
    """Resuming a finished run changes nothing."""
    before = json.loads((out / "bundle" / "bundle.json").read_text())["model_sha256"]
    assert run("train", "--data", demo_data["train"], "--out", out, *COMMON) == 0
    assert json.loads((out / "bundle" / "bundle.json").read_text())["model_sha256"] == before


def test_pictures_that_changed_after_fitting_stop_the_export(
    out: Path, demo_data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which of them were held out is not known then; without what is fitted to them the bundle is still written."""
    config = json.loads((out / "config.json").read_text())
    config["data_fingerprint"]["sha256"] = "0" * 64
    (out / "config.json").write_text(json.dumps(config))
    assert run("export", "--run", out, "--out", tmp_path / "b", "--name", "n") == 1
    assert "--no-statistics --decide-by mos" in capsys.readouterr().err
    without = ("--no-statistics", "--decide-by", "mos")
    assert run("export", "--run", out, "--out", tmp_path / "b", "--name", "n", *without) == 0


@pytest.mark.e2e
def test_a_full_disk_is_one_sentence_and_leaves_no_half_written_file(
    demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """Files may grow to 100 kB only, as on a disk that is full."""
    command = [sys.executable, "-m", "training", "train", "--data", str(demo_data["train"])]
    limited = subprocess.run(
        [*command, "--out", str(tmp_path / "run"), *COMMON],
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert limited.returncode == 1
    assert "free space" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert not list((tmp_path / "run").glob("*.partial*"))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
