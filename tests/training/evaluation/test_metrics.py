"""Metrics against scikit-learn and by hand, ties and all."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from training.errors import DataError
from training.evaluation.metrics import Convention, aupr_in, aupr_out, auroc, convention, fpr95, summary

GENERATOR = np.random.default_rng(0)
CONVENTIONS: tuple[Convention, ...] = ("paper", "nearest", "ood_positive")


def curve(id_scores: np.ndarray, ood_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's FPR and TPR at every distinct score, ID positive."""
    labels = np.concatenate([np.ones(len(id_scores)), np.zeros(len(ood_scores))])
    fpr, tpr, _ = roc_curve(labels, np.concatenate([id_scores, ood_scores]), drop_intermediate=False)
    return fpr, tpr


def pair(digits: int, n_in: int = 400, n_out: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping scores with as many ties as rounding to `digits` makes."""
    return GENERATOR.normal(1, 1, n_in).round(digits), GENERATOR.normal(0, 1, n_out).round(digits)


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_fpr95_is_the_roc_curves_first_point_at_95_percent(digits: int) -> None:
    """With many ties, some, and none."""
    id_scores, ood_scores = pair(digits)
    fpr, tpr = curve(id_scores, ood_scores)
    assert fpr95(id_scores, ood_scores) == pytest.approx(fpr[tpr >= 0.95][0])


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_nearest_is_the_point_of_the_curve_nearest_to_95_percent(digits: int) -> None:
    """Of equally near points the lowest threshold, which is the last of a flat stretch before ID is complete."""
    for _ in range(20):
        id_scores, ood_scores = pair(digits, 37, 53)
        fpr, tpr = curve(id_scores, ood_scores)
        complete = int(np.argmax(tpr == 1))
        distance = np.abs(tpr[: complete + 1] - 0.95).round(12)
        last = np.flatnonzero(distance == distance.min())[-1]
        assert fpr95(id_scores, ood_scores, "nearest") == pytest.approx(fpr[last])


def test_ood_positive_is_the_other_sides_rate() -> None:
    """The share of ID above scikit-learn's first threshold that finds 95 % of OOD, as OpenOOD has it."""
    id_scores, ood_scores = pair(1)
    labels = np.concatenate([np.zeros(len(id_scores)), np.ones(len(ood_scores))])
    fpr, tpr, _ = roc_curve(labels, -np.concatenate([id_scores, ood_scores]), drop_intermediate=False)
    assert fpr95(id_scores, ood_scores, "ood_positive") == pytest.approx(fpr[tpr >= 0.95][0])


def test_the_three_conventions_differ() -> None:
    """On one golden vector, worked out by hand: twelve ID scores 0..11 and five OOD scores."""
    id_scores, ood_scores = np.arange(12.0), np.array([-1.0, 0.0, 0.5, 3.0, 8.5])
    assert fpr95(id_scores, ood_scores, "paper") == 4 / 5  # none of twelve may fall: the threshold is 0
    assert fpr95(id_scores, ood_scores, "nearest") == 3 / 5  # 11 of 12 is nearer to 95 % than 12 of 12: 0.5
    assert fpr95(id_scores, ood_scores, "ood_positive") == 9 / 12  # 8.5 must be found, and 0 to 8 go with it


def test_areas_agree_with_a_golden_vector() -> None:
    """Three ID and two OOD scores with a tie across: pairs and precisions counted by hand."""
    id_scores, ood_scores = np.array([0.9, 0.6, 0.3]), np.array([0.6, 0.1])
    assert auroc(id_scores, ood_scores) == pytest.approx((2 + 1.5 + 1) / 6)
    assert aupr_in(id_scores, ood_scores) == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    assert aupr_out(id_scores, ood_scores) == pytest.approx((1 / 1 + 2 / 4) / 2)


@pytest.mark.parametrize(("n_in", "n_out"), [(5000, 7), (7, 5000), (1, 1)])
def test_areas_are_scikit_learns_however_lopsided(n_in: int, n_out: int) -> None:
    """One side far larger, and a single picture each."""
    id_scores, ood_scores = pair(2, n_in, n_out)
    labels, scores = np.repeat([1, 0], [n_in, n_out]), np.concatenate([id_scores, ood_scores])
    figures = summary(id_scores, ood_scores)
    assert figures["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert figures["aupr_in"] == pytest.approx(average_precision_score(labels, scores))
    assert figures["aupr_out"] == pytest.approx(average_precision_score(1 - labels, -scores))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_positive_class_is_in_distribution(convention: Convention) -> None:
    """Perfectly separated with ID above: AUROC 1, FPR95 0 in every convention; below: 0 and 1."""
    high, low = np.arange(20.0) + 100, np.arange(30.0)
    assert (auroc(high, low), fpr95(high, low, convention)) == (1.0, 0.0)
    assert (auroc(low, high), fpr95(low, high, convention)) == (0.0, 1.0)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_single_picture_each_is_told_or_not(convention: Convention) -> None:
    """n = 1: above, tied, below."""
    one, two = np.array([1.0]), np.array([2.0])
    assert [fpr95(two, one, convention), fpr95(one, one, convention), fpr95(one, two, convention)] == [0, 1, 1]


def test_constant_scores_tell_nothing() -> None:
    """All ties: AUROC one half, everything accepted, AUPR the base rates."""
    same = np.zeros(30)
    assert summary(same, same[:10]) == {
        "auroc": 0.5,
        "fpr95": 1.0,
        "aupr_in": 0.75,
        "aupr_out": 0.25,
        "n_in": 30,
        "n_out": 10,
    }
    assert fpr95(same, same[:10], "nearest") == fpr95(same, same[:10], "ood_positive") == 1.0


def test_aupr_swaps_with_the_roles() -> None:
    """AUPR-out is AUPR-in with the sets and the sign exchanged."""
    id_scores, ood_scores = GENERATOR.normal(1, 1, 100), GENERATOR.normal(0, 1, 50)
    assert aupr_out(id_scores, ood_scores) == pytest.approx(aupr_in(-ood_scores, -id_scores))


def test_one_in_twenty_may_be_lost_exactly() -> None:
    """Of 20 ID scores the lowest one may fall: the threshold is the second smallest."""
    id_scores = np.arange(20.0)
    assert fpr95(id_scores, np.array([0.5, 1.0, 0.0])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("bad", [np.array([0.0, np.nan]), np.array([np.inf]), np.array([])])
def test_scores_that_are_no_numbers_are_refused(bad: np.ndarray) -> None:
    """NaN, infinity and no score at all, on either side, for every metric."""
    good = np.arange(3.0)
    for metric in (auroc, aupr_in, aupr_out, fpr95):
        with pytest.raises(DataError, match="ID scores"):
            metric(bad, good)
        with pytest.raises(DataError, match="OOD scores"):
            metric(good, bad)


def test_the_source_chooses_the_convention() -> None:
    """Ledger D7: the authors' code takes the nearest recall, the paper and we at least 95 %."""
    assert [convention(source) for source in ("paper", "official", "corrected")] == [
        "paper",
        "nearest",
        "paper",
    ]
