"""A calibration says what it promises, beside what the other methods would, and what its pictures were."""

from typing import Any

import numpy as np
import pytest

from service.bundle import Bundle, Calibration
from tests.training.bundling.scores import certified, scored
from training.bundling.calibrate import fit
from training.bundling.guarantee import promise_kept, rank
from training.bundling.methods import Method
from training.bundling.promises import about_pictures, groups_table, guarantee, methods_table, width_sentence
from training.bundling.thresholds import Rule, Scored

OWN = np.random.default_rng(0).normal(size=2_000)
GROUPS = ("warm", "cool", "pale")


def calibrated(bundle: Bundle, method: Method, n: int = 2_000) -> Calibration:
    """On n scores, at 95 %."""
    return fit(scored(OWN[:n]), bundle, Rule(method, 0.95, 0.95), data={})


@pytest.mark.parametrize("method", Method)
def test_every_method_has_a_row_whichever_was_chosen(tiny_bundle: Bundle, method: Method) -> None:
    """The threshold is the order statistic at its rank, though only some of 2,000 scores are kept."""
    done = calibrated(tiny_bundle, method)
    assert len(done.reference.ranks) < 1_010
    header, *rows = methods_table(done)
    assert [row[0].split()[0] for row in rows] == list(Method)
    assert [row[0] for row in rows if "chosen" in row[0]] == [f"{method} (chosen)"]
    for row, of in zip(rows, Method, strict=True):
        k = rank(of, 2_000, 0.95, 0.95)
        assert row[1] == f"{np.sort(OWN)[k - 1]:.6g}"
        assert row[2:5] == ["2000", str(k), f"{100 * promise_kept(2_000, k, 0.95):.1f} %"]
        assert len(row) == len(header)


def test_a_method_that_has_too_few_says_how_many_it_needs(tiny_bundle: Bundle) -> None:
    """Forty pictures are enough for the two that certify nothing."""
    rows = methods_table(calibrated(tiny_bundle, Method.CONFORMAL, 40))
    assert [row[1] for row in rows if row[0] == "certified"] == ["needs 59 pictures"]


def test_each_guarantee_is_of_its_method(tiny_bundle: Bundle) -> None:
    """With its rank, the probability that it is kept, and the interval."""
    manifest = tiny_bundle.manifest
    sentences = {method: guarantee(manifest, calibrated(tiny_bundle, method, 264)) for method in Method}
    assert "at least 95 % of later pictures like them are accepted, with 95 % confidence" in sentences[Method.CERTIFIED]
    assert "rank 8 from the lowest of 264" in sentences[Method.CERTIFIED]
    assert "95.53 % keep 95 %" in sentences[Method.CERTIFIED]
    assert "on average" in sentences[Method.CONFORMAL]
    assert "nothing is promised" in sentences[Method.QUANTILE]
    assert "56.2 % keep 95 %" in sentences[Method.QUANTILE]


def test_groups_have_a_row_each(tiny_bundle: Bundle) -> None:
    """One that is too small has the threshold of all; without thresholds of groups there is no table."""
    groups = np.repeat([0, 1, 2], [200, 75, 25])
    done = fit(Scored(OWN[:300], groups), tiny_bundle, Rule(Method.CERTIFIED, 0.95, 0.95, GROUPS), data={})
    _, warm, cool, pale = groups_table(tiny_bundle.manifest, done)
    assert warm[:4] == ["warm", f"{np.sort(OWN[:200])[4]:.6g}", "200", "5"]
    assert cool[:1] + cool[2:4] == ["cool", "75", "1"]
    assert pale[1] == f"{done.threshold:.6g}, as all; its own needs 59 pictures"
    said = guarantee(tiny_bundle.manifest, done)
    assert "In each of 2 predicted groups" in said
    assert "Any other group has the threshold of all" in said
    assert groups_table(tiny_bundle.manifest, calibrated(tiny_bundle, Method.CERTIFIED)) == []


def test_where_every_group_has_its_own_threshold_no_other_group_is_spoken_of(tiny_bundle: Bundle) -> None:
    """And what an interval takes is said of one threshold for all, with no interval of several beside it."""
    groups = np.repeat([0, 1, 2], 100)
    done = fit(Scored(OWN[:300], groups), tiny_bundle, Rule(Method.CERTIFIED, 0.95, 0.95, GROUPS), data={})
    said = guarantee(tiny_bundle.manifest, done)
    assert "In each of 3 predicted groups" in said
    assert "Any other group" not in said
    width = width_sentence(done, 0.01)
    assert "of one threshold for all groups" in width
    assert "(now" not in width


def test_how_many_pictures_an_interval_takes_is_always_said(tiny_bundle: Bundle) -> None:
    """Beside how wide it is now."""
    done = fit(scored(OWN[:264]), tiny_bundle, certified(0.95), data={})
    low, high = done.tpr_interval
    sentence = width_sentence(done, 0.01)
    assert sentence.startswith("To know the true TPR within 1 point")
    assert f"6,696 pictures (now 264, within {100 * (high - low):.2f})" in sentence
    assert "within 2 points" in width_sentence(done, 0.02)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ""),
        ({"fitted_pictures_compared": None, "repeats_left_out": 0}, "is not known"),
        ({"fitted_pictures_compared": 44_000, "repeats_left_out": 0}, "none of its pictures is among the 44,000"),
        ({"fitted_pictures_compared": 5, "repeats_left_out": 3}, "3 pictures were there more than once and count once"),
        ({"labels": 70}, "70 labels"),
        (
            {"labelled_out": {"share": 0.25, "n": 40, "interval": [0.1266, 0.412]}},
            "Of 40 pictures that were labelled out, 25 % get in [12.66 %, 41.2 %]",
        ),
        ({"pictures_in": {"fitted_pictures_compared": 5, "repeats_left_out": 0}}, "among the 5 that"),
    ],
)
def test_what_is_known_of_the_pictures_is_said(tiny_bundle: Bundle, data: dict[str, Any], expected: str) -> None:
    """Older calibrations know nothing, and say nothing."""
    said = about_pictures(fit(scored(OWN[:100]), tiny_bundle, certified(0.95), data=data))
    assert expected in said
    assert bool(said) == bool(data)
