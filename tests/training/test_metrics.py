"""Metrics against scikit-learn and by hand, ties and all."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from training.metrics import aupr_in, aupr_out, auroc, fpr95, summary

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_fpr95_is_the_roc_curves_first_point_at_95_percent(digits: int) -> None:
    """With many ties, some, and none."""
    inside, outside = GENERATOR.normal(1, 1, 400).round(digits), GENERATOR.normal(0, 1, 300).round(digits)
    labels = np.concatenate([np.ones(400), np.zeros(300)])
    fpr, tpr, _ = roc_curve(labels, np.concatenate([inside, outside]), drop_intermediate=False)
    assert fpr95(inside, outside) == pytest.approx(fpr[tpr >= 0.95][0])


def test_the_positive_class_is_in_distribution() -> None:
    """Perfectly separated with ID above: AUROC 1, FPR95 0; below: 0 and 1."""
    high, low = np.arange(20.0) + 100, np.arange(30.0)
    assert (auroc(high, low), fpr95(high, low)) == (1.0, 0.0)
    assert (auroc(low, high), fpr95(low, high)) == (0.0, 1.0)


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


def test_aupr_swaps_with_the_roles() -> None:
    """AUPR-out is AUPR-in with the sets and the sign exchanged."""
    inside, outside = GENERATOR.normal(1, 1, 100), GENERATOR.normal(0, 1, 50)
    assert aupr_out(inside, outside) == pytest.approx(aupr_in(-outside, -inside))


def test_one_in_twenty_may_be_lost_exactly() -> None:
    """Of 20 ID scores the lowest one may fall: the threshold is the second smallest."""
    inside = np.arange(20.0)
    assert fpr95(inside, np.array([0.5, 1.0, 0.0])) == pytest.approx(1 / 3)
