"""The paper's studies, run by the command on generated pictures with a small backbone."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training import __main__ as cli
from training.studies import trials as trials


@pytest.fixture(scope="module")
def arguments(finished_run: Path, demo_data: dict[str, Path]) -> list[str]:
    """What every study is asked with."""
    options = {
        "--data": demo_data["train"],
        "--id": demo_data["test"],
        "--ood": f"stripes={demo_data['stripes']}",
        "--weights": finished_run / "network.pt",
        "--size": 16,
        "--epochs": 1,
    }
    return [str(part) for option in options.items() for part in option]


def run(*command: object) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(part) for part in command])
    return int(stopped.value.code or 0)


def cells_of(out: Path) -> dict[str, dict[str, object]]:
    """What the study was: {trial: what was varied}."""
    results = json.loads((out / "results.json").read_text())
    return {name: trial["varied"] for name, trial in results.items()}


@pytest.mark.parametrize(
    ("study", "more", "expected"),
    [
        ("classes", ["--values", "2,4,9"], [("classes", 2), ("classes", 4), ("classes", 9)]),
        ("grouping", [], [("grouping", "taxonomy"), ("grouping", "clusters"), ("grouping", "random")]),
        ("groups", ["--values", "2,4"], [("groups", 3), ("groups", 2), ("groups", 4), ("groups", 2), ("groups", 4)]),
        ("backbones", [], [("backbone", "R11-tiny")]),
        ("blocks", [], [("blocks", "0"), ("blocks", "1"), ("blocks", "2"), ("blocks", "3"), ("blocks", "all")]),
    ],
)
def test_a_study_runs_its_cells_and_writes_its_table_and_picture(
    arguments: list[str], tmp_path: Path, study: str, more: list[str], expected: list[tuple[str, object]]
) -> None:
    """Each trial's figures follow from its scores by scikit-learn alone."""
    assert run("ablate", study, *arguments, *more, "--out", tmp_path) == 0
    varied = [(expected[0][0], trial[expected[0][0]]) for trial in cells_of(tmp_path).values()]
    assert sorted(map(str, varied)) == sorted(map(str, expected))
    for name in cells_of(tmp_path):
        folder = tmp_path / "trials" / name
        results = json.loads((folder / "results.json").read_text())
        with np.load(folder / "scores.npz") as scores:
            for detector in ("mos", "msp"):
                id_scores, ood_scores = scores[f"id/{detector}"], scores[f"stripes/{detector}"]
                labels = np.concatenate([np.ones(len(id_scores)), np.zeros(len(ood_scores))])
                expected_area = roc_auc_score(labels, np.concatenate([id_scores, ood_scores]))
                assert results[detector]["stripes"]["auroc"] == pytest.approx(expected_area)
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + len(varied)
    assert (tmp_path / "figure.png").stat().st_size > 0
    assert not list((tmp_path / "trials").glob("*.fit"))


def test_a_fixed_total_gives_more_classes_fewer_pictures_each(arguments: list[str], tmp_path: Path) -> None:
    """Fig. 9: the pictures together stay what the fewest classes have."""
    assert run("ablate", "classes-fixed-total", *arguments, "--values", "3,9", "--out", tmp_path) == 0
    assert {trial["classes"]: trial["pictures"] for trial in cells_of(tmp_path).values()} == {3: 75, 9: 72}


def test_finished_cells_are_not_run_again(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that was cut after its second trial fits only what is missing."""
    fit, fitted = trials.fit, []

    def cut_at_third(*given: object, **options: object) -> object:
        fitted.append(given)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return fit(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(trials, "fit", cut_at_third)
    command = ("ablate", "classes", *arguments, "--values", "2,4,6,9", "--out", tmp_path)
    assert run(*command) == 130
    assert run(*command) == 0
    assert len(fitted) == 3 + 2
    assert len(cells_of(tmp_path)) == 4


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("ablate", "colours"), "classes-fixed-total"),
        (("ablate", "classes", "--values", "2,three"), "commas"),
        (("ablate", "classes", "--values", "2,99"), "9 classes"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], tmp_path: Path, command: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names what there is."""
    assert run(*command, *arguments, "--out", tmp_path) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_the_folder_of_another_study_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cells of two studies are never mixed."""
    assert run("ablate", "classes", *arguments, "--values", "2", "--out", tmp_path) == 0
    assert run("ablate", "grouping", *arguments, "--out", tmp_path) == 1
    assert "another study" in capsys.readouterr().err
