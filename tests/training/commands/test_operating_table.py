"""What `calibrate` prints: a table on a terminal, lines elsewhere, and how to choose."""

import numpy as np
import pytest

from service.bundle import Bundle, Calibration, Strangers, StrangerSet
from tests.service.bundle.parts import a_manifest
from tests.training.bundling.scores import certified, scored
from training.bundling.calibrate import fit
from training.bundling.card import table
from training.bundling.strangers import JudgedStrangers
from training.commands.operating_table import show

OWN = np.linspace(-1, 0, 200)


@pytest.fixture
def calibration(tiny_bundle: Bundle) -> Calibration:
    """Judged by a set whose name looks like rich's markup."""
    sets = {"[red]": StrangerSet(data={"n": 50, "sha256": ""}, scaled_down=50, smaller=0)}
    judged = JudgedStrangers(
        Strangers(short_side_pixels=9, sets=sets),
        {"[red]": scored(np.linspace(-2, 0, 50))},
        {"[red]": scored(np.linspace(-1, 0, 50))},
    )
    return fit(scored(OWN), tiny_bundle, certified(0.9), data={}, strangers=judged)


def test_a_pipe_gets_a_line_for_each_point(calibration: Calibration, capsys: pytest.CaptureFixture[str]) -> None:
    """Every cell with its title, on standard output, unwrapped and without frames, then how to choose and by what."""
    show(a_manifest(), calibration, 0.01)
    lines = capsys.readouterr().out.splitlines()
    header, *rows = table(a_manifest(), calibration)
    for line, row in zip(lines, rows, strict=False):
        assert line == "; ".join(f"{title} {cell}" for title, cell in zip(header, row, strict=True))
    assert "--tpr" in lines[len(rows)]
    assert [line.split("; ")[0] for line in lines[len(rows) + 1 : -1]] == [
        "method certified (chosen)",
        "method conformal",
        "method quantile",
    ]
    assert lines[-1].startswith("To know the true TPR within 1 point, ")


def test_a_terminal_gets_a_table(
    calibration: Calibration, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a frame, every row and the names as they are."""
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "200", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    show(a_manifest(), calibration, 0.01)
    out = capsys.readouterr().out
    assert "┃" in out
    assert "[red] let in" in out
    cells = [cell for row in table(a_manifest(), calibration)[1:] for cell in row]
    assert all(part in out for cell in cells for part in cell.replace(" [", "\n[").splitlines())


def test_unseen_siblings_have_a_sentence(calibration: Calibration, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the bundle knows them."""
    siblings = {"auroc": 0.7, "folds": 5, "let_in": [{"tpr": 0.9, "share": 0.5, "interval": [0.4, 0.6]}]}
    show(a_manifest(metrics={"siblings": siblings}), calibration, 0.01)
    assert "AUROC of 0.700; let in 50.0 % [40.0, 60.0] at TPR 90 %" in capsys.readouterr().out


def test_without_strangers_it_says_how_to_give_some(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """A threshold alone says nothing about what gets in."""
    show(a_manifest(), fit(scored(OWN), tiny_bundle, certified(0.9), data={}), 0.01)
    assert "--strangers NAME=FOLDER" in capsys.readouterr().out
