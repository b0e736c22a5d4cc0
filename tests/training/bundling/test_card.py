"""The card says everything that a choice rests on."""

from typing import Any

import numpy as np
import pytest

from service.bundle import Bundle, Calibration, Manifest, Strangers, StrangerSet
from tests.service.bundle.parts import a_manifest
from tests.training.bundling.scores import certified, scored
from training.bundling import card
from training.bundling.calibrate import fit
from training.bundling.card import card_files, markdown, table
from training.bundling.strangers import JudgedStrangers
from training.errors import CalibrationError

OWN = np.linspace(-1, 0, 200)  # too few for 99 %
SIBLINGS: dict[str, Any] = {
    "auroc": 0.6789,
    "folds": 4,
    "let_in": [{"tpr": 0.95, "share": 0.4123, "interval": [0.371, 0.454]}],
    "classes": 12,
}


@pytest.fixture
def strangers() -> JudgedStrangers:
    """`large` was scaled down; `tiny` is smaller than one's own, and so stayed as it is."""
    generator = np.random.default_rng(0)
    large, scaled, tiny = (generator.uniform(-1.5, 0, n) for n in (40, 40, 30))
    sets = {
        "large": StrangerSet(data={"n": 40, "sha256": "a" * 64}, scaled_down=40, smaller=0),
        "tiny": StrangerSet(data={"n": 30, "sha256": "b" * 64}, scaled_down=0, smaller=29),
    }
    told = Strangers(short_side_pixels=160, sets=sets)
    return JudgedStrangers(
        told, {"large": scored(scaled), "tiny": scored(tiny)}, {"large": scored(large), "tiny": scored(tiny)}
    )


@pytest.fixture
def calibration(tiny_bundle: Bundle, strangers: JudgedStrangers) -> Calibration:
    """Of 200 labelled pictures."""
    return fit(scored(OWN), tiny_bundle, certified(0.9), data={}, correct=OWN > -0.7, strangers=strangers)


def with_siblings(figures: Any) -> Manifest:
    return a_manifest(metrics={"siblings": figures})


def test_the_card_holds_every_figure(calibration: Calibration) -> None:
    """Thresholds, accuracies, shares and their intervals of every point, and where they come from."""
    text = markdown(a_manifest(), calibration, interval_width=0.01, with_picture=True)
    for point in calibration.operating_points:
        assert f"{100 * point.tpr:g} %" in text
        assert f"{point.threshold:.6g}" in text
        assert f"{100 * (point.accuracy_on_accepted or 0):.1f} %" in text
        for found in (point.strangers["large"].scaled, point.strangers["large"].as_is, point.strangers["tiny"].scaled):
            low, high = found.interval
            assert f"{100 * found.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]" in text
    for word in ("`mos`", "95 % confidence", "160 pixels", "29 smaller", "a" * 64, "b" * 64, "--tpr", "card.png"):
        assert word in text
    assert calibration.model_sha256 in text


def test_scaled_figures_lead_and_stand_alone_where_nothing_was_scaled(calibration: Calibration) -> None:
    """`large` has a second column, for the pictures as they are; `tiny` would say the same twice."""
    header, *rows = table(a_manifest(), calibration)
    assert header[3:] == ["large let in", "large as they are", "tiny let in"]
    point = calibration.operating_points[0]
    assert rows[1][3].startswith(f"{100 * point.strangers['large'].scaled.share:.1f} %")
    assert rows[1][4].startswith(f"{100 * point.strangers['large'].as_is.share:.1f} %")


def test_a_tpr_that_cannot_be_certified_says_what_it_needs(calibration: Calibration) -> None:
    """200 pictures are too few for 99 %: the row is there and claims nothing."""
    header, first, *_ = table(a_manifest(), calibration)
    assert first == ["99 %", "needs 299 pictures", *["-"] * (len(header) - 2)]


def test_the_chosen_point_is_marked(calibration: Calibration) -> None:
    """One row, that of the calibration's TPR."""
    rows = table(a_manifest(), calibration)
    assert [row[0] for row in rows if row[0].endswith("(chosen)")] == ["90 % (chosen)"]
    assert f"**{calibration.threshold:.6g}**" in markdown(
        a_manifest(), calibration, interval_width=0.01, with_picture=False
    )


def test_a_tpr_of_ones_own_has_a_row(tiny_bundle: Bundle) -> None:
    """A promise that is not among the usual ones is shown among them."""
    own = fit(scored(OWN), tiny_bundle, certified(0.85), data={})
    firsts = [row[0] for row in table(a_manifest(), own)[1:]]
    assert firsts == ["99 %", "98 %", "95 %", "90 %", "85 % (chosen)", "80 %"]


def test_unseen_siblings_stand_beside_the_strangers(calibration: Calibration) -> None:
    """Their column has the TPRs that are known, their sentence the AUROC."""
    manifest = with_siblings(SIBLINGS)
    rows = table(manifest, calibration)
    assert rows[0][-1] == "unseen siblings let in"
    assert [row[-1] for row in rows[1:]] == ["-", "-", "41.2 % [37.1, 45.4]", "-", "-"]
    text = markdown(manifest, calibration, interval_width=0.01, with_picture=False)
    assert "AUROC of 0.679" in text
    assert "4 folds" in text
    assert "siblings" not in markdown(a_manifest(), calibration, interval_width=0.01, with_picture=False)


def test_siblings_of_another_form_are_one_sentence(calibration: Calibration) -> None:
    """A bundle that another release wrote is refused with a remedy."""
    with pytest.raises(CalibrationError, match=r"metrics.siblings"):
        table(with_siblings({"auroc": "high"}), calibration)


def test_without_strangers_the_card_says_what_is_missing(tiny_bundle: Bundle) -> None:
    """Thresholds alone say nothing about what gets in."""
    own = fit(scored(OWN), tiny_bundle, certified(0.9), data={})
    text = markdown(a_manifest(), own, interval_width=0.01, with_picture=False)
    assert "--strangers" in text
    assert "accuracy" not in text


def test_a_name_with_a_bar_does_not_break_the_table(tiny_bundle: Bundle) -> None:
    """Every line of a table, of operating points or of methods, has as many cells as its header."""
    told = Strangers(
        short_side_pixels=9, sets={"a|b": StrangerSet(data={"n": 2, "sha256": ""}, scaled_down=0, smaller=0)}
    )
    judged = JudgedStrangers(told, {"a|b": scored(OWN[:2])}, {"a|b": scored(OWN[:2])})
    own = fit(scored(OWN), tiny_bundle, certified(0.9), data={}, strangers=judged)
    lines = [
        line
        for line in markdown(a_manifest(), own, interval_width=0.01, with_picture=False).splitlines()
        if line.startswith("|")
    ]
    assert {line.replace("\\|", "").count("|") for line in lines} == {4, 8}


def test_without_matplotlib_the_text_stands_alone(
    calibration: Calibration,
    strangers: JudgedStrangers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The service's image draws nothing; one line says so, and the text points at no picture."""
    monkeypatch.setattr(card, "find_spec", lambda _: None)
    files = card_files(a_manifest(), calibration, scored(OWN), strangers, interval_width=0.01)
    assert set(files) == {"card.md"}
    assert b"card.png" not in files["card.md"]
    assert "matplotlib" in capsys.readouterr().err
