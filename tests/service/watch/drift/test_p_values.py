"""The e-detector on p-values: its run length holds for the calibration set as it is, and changes are found."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from service.bundle import ReferenceScores
from service.watch.drift.p_values import PValuesChart, factor_table, gathered, level_ranks, shifted
from tests.service.watch.drift.calibrations import calibrated_on, evenly

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]


def a_chart(scores: list[float], **changes: float) -> PValuesChart:
    settings = {"confidence": 0.95, "run_length": 1e7, "strangers_share": 0.0} | changes
    return PValuesChart(calibrated_on(scores).reference, **settings)


def pictures_to_alarm(chart: PValuesChart, scores: Floats) -> int | None:
    """How many of *scores* it takes to the alarm, None where it stays away."""
    for picture, score in enumerate(scores.tolist(), start=1):
        chart.observe(score)
        if chart.statistic >= chart.limit:
            return picture
    return None


@pytest.mark.parametrize("alternative", [gathered(0.1, within=0.05), gathered(0.7, within=0.9), shifted(0.4)])
def test_an_alternative_is_concave_and_whole(alternative: Callable[[float], float]) -> None:
    """So its factors fall with the score, and are 1 on average where nothing drifts."""
    values = [alternative(u) for u in np.linspace(0, 1, 201)]
    assert (values[0], values[-1]) == (0, pytest.approx(1))
    assert np.diff(values, 2).max() <= 1e-12


def means_of_factors(n: int, sets: int, strangers_share: float) -> Floats:
    """E[L / t] by calibration set and alternative, strangers in the worst cell for each: (sets, alternatives)."""
    reference = ReferenceScores(ranks=list(range(1, n + 1)), scores=evenly(n))
    ranks = level_ranks(reference.ranks)
    table = factor_table(ranks, n, 0.95, strangers_share)
    by_cell = np.stack([table[cell, cell] for cell in range(len(ranks) + 1)])
    chances = np.random.default_rng(0).dirichlet(np.diff([0, *ranks, n + 1]), size=sets)
    return strangers_share * by_cell.max(axis=0) + (1 - strangers_share) * chances @ by_cell


@pytest.mark.parametrize("n", [5, 59, 728])
@pytest.mark.parametrize("strangers_share", [0.0, 0.2])
def test_no_factor_has_a_mean_above_1_at_the_confidence(n: int, strangers_share: float) -> None:
    """For 95 of 100 calibration sets at least, the hypothesis of no drift includes their own distribution."""
    worst = means_of_factors(n, sets=4_000, strangers_share=strangers_share).max(axis=1)
    broken = float((worst > 1).mean())
    assert broken <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4_000)
    assert broken >= 0.01  # nor is it so wide that nothing could be found


def test_the_run_length_holds_where_the_calibration_set_misleads_most() -> None:
    """For the unluckiest set that the confidence still covers: no shorter, within four standard errors of 200 runs.

    A chart that took the p-values of this set to be uniform has a run length of less than half.
    """
    n, wanted = 59, 150
    random = np.random.default_rng(1)
    ranks = level_ranks(range(1, n + 1))
    by_cell = np.stack([row[cell] for cell, row in enumerate(factor_table(ranks, n, 0.95, 0.0))])
    chances = random.dirichlet(np.diff([0, *ranks, n + 1]), size=4_000)
    worst = (chances @ by_cell).max(axis=1)
    chances = chances[np.argmax(np.where(worst <= 1, worst, 0))]
    # The scores of cell j lie between j and j + 1, and the score of each level's rank is a whole number.
    levels = np.interp(np.arange(1, n + 1), ranks, np.arange(1, len(ranks) + 1.0)).tolist()
    chart, lengths = a_chart(levels, run_length=wanted), []
    for _ in range(200):
        scores = random.choice(len(chances), size=20 * wanted, p=chances) + 0.5
        lengths.append(pictures_to_alarm(copy.deepcopy(chart), scores) or len(scores))
    assert np.mean(lengths) + 4 * np.std(lengths) / np.sqrt(200) >= wanted


def normal(by: float = 0.0, spread: float = 1.0) -> Draw:
    return lambda random, size: norm.cdf(by + spread * random.standard_normal(size))


def with_foreign(share: float) -> Draw:
    """Foreign pictures, which score like the lowest 2 % of one's own."""
    return lambda random, size: random.random(size) * np.where(random.random(size) < share, 0.02, 1)


@pytest.mark.parametrize(
    ("draw", "latest"),
    [
        (with_foreign(0.1), 400),
        (with_foreign(0.2), 150),
        (with_foreign(0.5), 40),
        (normal(by=-0.5), 350),
        (normal(by=-1), 80),
        (normal(by=1), 80),
        (lambda random, size: 1 - random.random(size) / 2, 120),
        (normal(spread=0.5), 250),
        (normal(spread=1.5), 500),
    ],
    ids=["10 %", "20 %", "50 %", "0.5 sd down", "1 sd down", "1 sd up", "easy half", "narrow", "wide"],
)
def test_changes_are_found(draw: Draw, latest: int) -> None:
    """Strangers, shifts to either side, repeated easy pictures: on average no later than this, of 20 streams."""
    random = np.random.default_rng(2)
    delays = []
    for chart in map(copy.deepcopy, [a_chart(evenly(2_000))] * 20):
        assert pictures_to_alarm(chart, random.random(500)) is None
        delays.append(pictures_to_alarm(chart, draw(random, 5 * latest)) or 5 * latest)
    assert np.mean(delays) <= latest


@pytest.mark.parametrize("n", [1, 59, 728])
def test_an_unchanged_stream_is_quiet(n: int) -> None:
    """Fifty thousand pictures against a calibration set drawn from the same distribution."""
    random = np.random.default_rng(3)
    assert pictures_to_alarm(a_chart(random.random(n).tolist()), random.random(50_000)) is None


def test_scores_that_tie_with_a_level_are_quiet() -> None:
    """Where half of all scores are one and the same number, an unchanged stream is still unchanged."""
    random = np.random.default_rng(4)
    scores = np.minimum(random.random(20_728), 0.5)
    assert pictures_to_alarm(a_chart(scores[:728].tolist()), scores[728:]) is None


def test_a_thinned_reference_works() -> None:
    """Where only some order statistics are stored, their own ranks count."""
    reference = ReferenceScores(ranks=[1, 50, 1_000], scores=[0.001, 0.05, 1.0])
    chart = PValuesChart(reference, confidence=0.95, run_length=1e7, strangers_share=0)
    random = np.random.default_rng(5)
    assert pictures_to_alarm(chart, random.random(20_000)) is None
    assert pictures_to_alarm(chart, with_foreign(0.5)(random, 200)) is not None


def test_normal_strangers_are_no_drift() -> None:
    """A tenth of foreign pictures is found, unless it is said to be normal; then three tenths are found."""
    random = np.random.default_rng(6)
    tenth, three_tenths = with_foreign(0.1)(random, 20_000), with_foreign(0.3)(random, 2_000)
    assert pictures_to_alarm(a_chart(evenly(728)), tenth) is not None
    assert pictures_to_alarm(a_chart(evenly(728), strangers_share=0.1), tenth) is None
    assert pictures_to_alarm(a_chart(evenly(728), strangers_share=0.1), three_tenths) is not None


def test_what_was_long_ago_is_soon_forgotten() -> None:
    """After ten thousand strangers the statistic is at its limit, and it falls to half in under 500 good pictures."""
    chart = a_chart(evenly(728))
    for _ in range(10_000):
        chart.observe(0.0001)
    assert chart.statistic == chart.limit
    for score in np.random.default_rng(7).random(500).tolist():
        chart.observe(score)
    assert chart.statistic < chart.limit / 2
