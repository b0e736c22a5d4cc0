"""Operating points are counts on scores, with exact intervals."""

import numpy as np
import pytest
from scipy.stats import beta

from service.bundle import Strangers, StrangerSet
from tests.training.bundling.scores import certified, scored
from training.bundling.operating_points import TPRS, let_in, operating_points
from training.bundling.strangers import JudgedStrangers
from training.bundling.thresholds import choose

OWN = scored(np.linspace(-1, 0, 300))


def judged(scaled: list[float], as_is: list[float]) -> JudgedStrangers:
    """A set `s` with these scores."""
    told = Strangers(short_side_pixels=32, sets={"s": StrangerSet(data={}, scaled_down=len(scaled), smaller=0)})
    return JudgedStrangers(told, {"s": scored(scaled)}, {"s": scored(as_is)})


@pytest.mark.parametrize(("count", "n"), [(0, 40), (7, 40), (40, 40), (1, 1), (123, 600)])
def test_the_interval_is_clopper_and_pearsons(count: int, n: int) -> None:
    """Both limits are quantiles of beta distributions, and one-sided where nothing or everything gets in."""
    found = let_in(np.arange(n) < count, 0.9)
    low = beta.ppf(0.05, count, n - count + 1) if count else 0.0
    high = beta.ppf(0.95, count + 1, n - count) if count < n else 1.0
    assert (found.share, found.n) == (count / n, n)
    assert found.interval == pytest.approx((low, high))


def test_a_score_on_the_threshold_is_let_in() -> None:
    """The rule is the decision's own: `score >= threshold`."""
    chosen = choose(OWN, certified(0.9))
    assert chosen.accept(scored([chosen.threshold, np.nextafter(chosen.threshold, -1)])).tolist() == [True, False]


def test_a_tpr_that_n_is_too_small_for_is_left_out() -> None:
    """299 scores certify 99 %, 298 do not, and the others stay."""
    tprs = [
        [point.tpr for point in operating_points(scored(OWN.scores[:n]), None, None, certified(0.95), TPRS)]
        for n in (299, 298)
    ]
    assert tprs == [[0.99, 0.98, 0.95, 0.9, 0.8], [0.98, 0.95, 0.9, 0.8]]


def test_accuracy_is_of_the_accepted_alone() -> None:
    """Pictures that are turned away count neither for nor against it."""
    [point] = operating_points(OWN, OWN.scores >= -0.3, None, certified(0.95), [0.8])
    accepted = OWN.scores[point.k - 1 :]
    assert point.accuracy_on_accepted == pytest.approx((accepted >= -0.3).mean())


def test_both_sizes_of_strangers_are_told_apart() -> None:
    """Scores of scaled pictures and of pictures as they are go to figures of their own."""
    [point] = operating_points(OWN, None, judged([0, 0, 0, -1], [0, -1, -1, -1]), certified(0.95), [0.9])
    assert (point.strangers["s"].scaled.share, point.strangers["s"].as_is.share) == (0.75, 0.25)
