"""What n scores promise is known, and nobody promises what they cannot."""

import numpy as np
import pytest
from scipy.stats import binom

from training.bundling.guarantee import minimum_count, threshold_rank, tpr_interval
from training.errors import CalibrationError


@pytest.mark.parametrize(
    ("n", "at_95", "at_99"),
    [(500, 17, 14), (1000, 39, 35), (2000, 84, 78), (5000, 225, 215), (10000, 464, 450), (50000, 2420, 2387)],
)
def test_the_rank_is_the_known_one(n: int, at_95: int, at_99: int) -> None:
    """k for a TPR of 95 % at 95 % and 99 % confidence, from the published table."""
    assert threshold_rank(n, 0.95, 0.95) == at_95
    assert threshold_rank(n, 0.95, 0.99) == at_99


@pytest.mark.parametrize("n", [59, 200, 777])
def test_the_rank_is_the_largest_that_keeps_the_promise(n: int) -> None:
    """k keeps P(Bin(n, 5 %) >= k) at 95 % and k + 1 does not."""
    k = threshold_rank(n, 0.95, 0.95)
    assert binom.sf(k - 1, n, 0.05) >= 0.95 > binom.sf(k, n, 0.05)


def test_59_scores_are_the_fewest_at_the_defaults() -> None:
    """58 are refused with the number that is needed; at 99 % it is 90."""
    assert (minimum_count(0.95, 0.95), minimum_count(0.95, 0.99)) == (59, 90)
    assert threshold_rank(59, 0.95, 0.95) == 1
    with pytest.raises(CalibrationError, match="at least 59"):
        threshold_rank(58, 0.95, 0.95)


def test_recalibrating_breaks_the_promise_no_more_often_than_said() -> None:
    """Of 4,000 calibrations on uniform scores, whose true TPR is known, at most 5 % (and noise) fall below 95 %."""
    generator = np.random.default_rng(0)
    n, repeats = 300, 4000
    k = threshold_rank(n, 0.95, 0.95)
    thresholds = np.sort(generator.random((repeats, n)), axis=1)[:, k - 1]
    true_tpr = 1 - thresholds
    broken = (true_tpr < 0.95).mean()
    assert broken <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    low, high = tpr_interval(n, k, 0.95)
    assert ((true_tpr >= low) & (true_tpr <= high)).mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("tpr", "confidence"), [(1.0, 0.95), (0.95, 1.0), (0.0, 0.5), (-1, 0.5)])
def test_promises_outside_zero_and_one_are_refused(tpr: float, confidence: float) -> None:
    """No number of pictures can promise everything."""
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        minimum_count(tpr, confidence)
