"""What is typed becomes a run, or one sentence."""

import json
from pathlib import Path

import pytest

from training import __main__ as cli


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
        (["--grouping", "taxonomy:cifar100"], "is of other classes"),
        (["--flat-weight", "0", "--group-weight", "0"], "Both losses have no weight"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(
    demo_data: dict[str, Path], tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the option and the remedy, and there is no traceback."""
    assert run("train", "--data", demo_data["train"], "--out", tmp_path, *arguments) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
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
