"""What n scores promise is known, and nobody promises what they cannot."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from training.bundling.guarantee import (
    minimum_count,
    pictures_for_width,
    pooled_interval,
    promise_kept,
    rank,
    threshold_rank,
    tpr_interval,
)
from training.bundling.methods import Method, promise
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


@pytest.mark.parametrize(
    ("n", "conformal", "quantile"), [(19, 1, 1), (39, 2, 1), (40, 2, 2), (59, 3, 2), (264, 13, 13), (999, 50, 49)]
)
def test_the_other_methods_have_their_own_ranks(n: int, conformal: int, quantile: int) -> None:
    """floor(5 % of n + 1) and floor(5 % of n), in whole numbers."""
    assert rank(Method.CONFORMAL, n, 0.95, 0.95) == conformal
    assert rank(Method.QUANTILE, n, 0.95, 0.95) == quantile


def test_a_share_is_taken_as_it_was_typed() -> None:
    """In binary (1 - 0.9) * 10 is less than one, which would cost a rank."""
    assert rank(Method.CONFORMAL, 9, 0.9, 0.95) == rank(Method.QUANTILE, 10, 0.9, 0.95) == 1


@pytest.mark.parametrize(("method", "needed"), [(Method.CERTIFIED, 59), (Method.CONFORMAL, 19), (Method.QUANTILE, 1)])
def test_each_method_says_how_many_scores_it_needs(method: Method, needed: int) -> None:
    """And takes no fewer."""
    assert minimum_count(0.95, 0.95, method) == needed
    assert rank(method, needed, 0.95, 0.95) == 1
    with pytest.raises(CalibrationError, match=f"at least {needed}"):
        rank(method, needed - 1, 0.95, 0.95)


def test_each_method_promises_what_it_keeps() -> None:
    """With confidence, on average, or nothing."""
    certified, conformal, quantile = (promise(method, 0.95, 0.9) for method in Method)
    assert "at least 95 %" in certified
    assert "90 % confidence" in certified
    assert "on average" in conformal
    assert "nothing is promised" in quantile


@pytest.mark.parametrize(("n", "k"), [(59, 1), (264, 13), (10_000, 500)])
def test_the_probability_of_a_kept_promise_is_exact(n: int, k: int) -> None:
    """That of a beta distribution, and of as many rejects among n as make the threshold low enough."""
    assert promise_kept(n, k, 0.95) == pytest.approx(beta(k, n + 1 - k).cdf(0.05))
    assert promise_kept(n, k, 0.95) == pytest.approx(binom.sf(k - 1, n, 0.05))


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("width", [0.05, 0.03, 0.02])
def test_so_many_pictures_narrow_the_interval_for_good(method: Method, width: float) -> None:
    """With one fewer it is wider, and from there on never again."""

    def width_of(n: int) -> float:
        low, high = tpr_interval(n, rank(method, n, 0.95, 0.95), 0.95)
        return high - low

    needed = pictures_for_width(width, method, 0.95, 0.95)
    assert width_of(needed - 1) > width
    assert max(width_of(n) for n in range(needed, 2 * needed)) <= width


def test_the_known_numbers_of_pictures() -> None:
    """For an interval of one point and of a tenth of one; of a wide one the fewest that certify are enough."""
    assert pictures_for_width(0.01, Method.CERTIFIED, 0.95, 0.95) == 6_696
    assert pictures_for_width(0.001, Method.CERTIFIED, 0.95, 0.95) == 724_052
    assert pictures_for_width(0.5, Method.CERTIFIED, 0.95, 0.95) == 59


@pytest.mark.parametrize("width", [0, 1, -0.1, 1e-9])
def test_a_width_that_nothing_gives_is_refused(width: float) -> None:
    """Zero, everything, or more pictures than there are."""
    with pytest.raises(CalibrationError):
        pictures_for_width(width, Method.CERTIFIED, 0.95, 0.95)


def test_an_interval_over_parts_is_wider_where_it_is_less_sure() -> None:
    """With one part it is exact; an uncertain count and more parts can only widen it."""
    exact = pooled_interval(300, (9, 9), 1, 0.95)
    assert exact == tpr_interval(300, 9, 0.95)
    low, high = pooled_interval(300, (9, 10), 4, 0.95)
    assert low < exact[0] < exact[1] < high
    assert pooled_interval(300, (0, 1), 1, 0.95)[1] == 1
