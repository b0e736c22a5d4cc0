"""The Bernoulli CUSUM on rejects: its run length is exact, and its limit follows from it."""

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from service.watch.drift.rejects import RejectsChart, reference_value, run_length, run_lengths

FOURTEENTH = Fraction(1, 14)


def simulated(p: float, gamma: Fraction, h: float, streams: int = 2_000) -> tuple[float, float]:
    """Return the mean run length of many streams and its standard error; whole numbers, as the chain counts."""
    random = np.random.default_rng(0)
    steps, lengths = np.zeros(streams, int), np.zeros(streams)
    running = np.ones(streams, bool)
    while running.any():
        lengths += running
        rejected = random.random(streams) < p
        steps = np.maximum(0, steps + gamma.denominator * rejected - gamma.numerator)
        running &= steps < h * gamma.denominator
    return float(lengths.mean()), float(lengths.std() / np.sqrt(streams))


def solved(p: float, gamma: Fraction, steps: int) -> float:
    """The run length by the chain's linear equations, as textbooks have it."""
    chain = np.eye(steps)
    for i in range(steps):
        chain[i, max(0, i - gamma.numerator)] -= 1 - p
        if (up := i + gamma.denominator - gamma.numerator) < steps:
            chain[i, up] -= p
    return float(np.linalg.solve(chain, np.ones(steps))[0])


@pytest.mark.parametrize(
    ("h", "p", "expected"),
    [
        *[(6, 0.05, 5_836), (6, 0.1, 177), (6, 0.2, 47), (6, 0.5, 15)],
        *[(8, 0.05, 25_791), (8, 0.1, 247), (8, 0.2, 63), (8, 0.5, 19)],
    ],
)
def test_run_lengths_are_those_of_the_reference(h: float, p: float, expected: int) -> None:
    """In control and at 10, 20 and 50 % rejects, for p0 = 0.05, p1 = 0.1 and two limits."""
    assert run_length(p, FOURTEENTH, h) == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize("gamma", [FOURTEENTH, Fraction(1, 2), Fraction(5, 9), Fraction(12, 17)])
@pytest.mark.parametrize("p", [0.01, 0.05, 0.3, 0.6])
def test_run_lengths_solve_the_equations_of_the_chain(gamma: Fraction, p: float) -> None:
    """One pass gives at every limit what a linear system gives for it, as far as the system has digits to give it."""
    for steps, expected in enumerate(islice(run_lengths(p, gamma), 40), start=1):
        assert expected > 1e7 or solved(p, gamma, steps) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("p", "gamma", "h"), [(0.05, FOURTEENTH, 4), (0.1, FOURTEENTH, 6), (0.35, Fraction(5, 9), 3), (0.5, FOURTEENTH, 6)]
)
def test_run_lengths_are_those_of_simulated_streams(p: float, gamma: Fraction, h: float) -> None:
    """Within four standard errors of 2,000 streams."""
    mean, error = simulated(p, gamma, h)
    assert abs(mean - run_length(p, gamma, h)) <= 4 * error


@pytest.mark.parametrize(
    ("p0", "p1"), [(0.05, 0.1), (0.0519, 0.1038), (0.0519, 0.053), (0.001, 0.002), (0.335, 0.67), (0.6, 0.8)]
)
def test_the_reference_value_lies_between_the_shares(p0: float, p1: float) -> None:
    """Rounded or not: else the statistic would rise in control, or never."""
    assert p0 < reference_value(p0, p1) < p1


@pytest.mark.parametrize("p0", [0.003, 0.05189, 0.335, 0.5, 0.6, 0.9, 0.95])
@pytest.mark.parametrize("nearness", [0.25, 0.5, 1])
def test_the_chain_is_small_for_every_pair_of_shares_that_is_allowed(p0: float, nearness: float) -> None:
    """Its limit is found by walking its states, each in a time that grows with the denominator."""
    p1 = p0 + nearness * p0 * (1 - p0)
    gamma = reference_value(p0, p1)
    assert gamma.denominator <= max(40, 1 / p0)
    # Fast enough from p0, too: a statistic that hardly falls has its limit far away, on a coarse grid as on a fine one.
    assert gamma - p0 >= (p1 - p0) / 5
    assert p1 - gamma >= (p1 - p0) / 5


def test_the_reference_value_is_rounded_to_a_coarse_grid() -> None:
    """0.0724 becomes 1/14, so that a limit of 6 has 84 states."""
    assert reference_value(0.05, 0.1) == FOURTEENTH


@pytest.mark.parametrize("wanted", [100, 5_835, 1e7])
def test_the_limit_is_the_least_that_is_long_enough(wanted: float) -> None:
    """One step lower, and false alarms would come sooner than wanted."""
    limit = RejectsChart(p0=0.05, p1=0.1, run_length=wanted).limit
    assert run_length(0.05, FOURTEENTH, limit) >= wanted > run_length(0.05, FOURTEENTH, limit - 1 / 14)


def lengths(share: float, streams: int) -> np.ndarray:
    """How many pictures each of some charts, of limit 6, takes to its first alarm."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(streams):
        chart, pictures = RejectsChart(p0=0.05, p1=0.1, run_length=5_835), 0
        while chart.statistic < chart.limit:
            chart.observe(rejected=random.random() < share)
            pictures += 1
        found.append(pictures)
    return np.array(found)


@pytest.mark.parametrize(("share", "expected"), [(0.05, 5_836), (0.1, 177), (0.2, 47), (0.5, 15)])
def test_the_chart_keeps_its_run_length_and_its_delays(share: float, expected: float) -> None:
    """In control and at 10, 20 and 50 % rejects, within four standard errors of 100 charts."""
    found = lengths(share, streams=100)
    assert abs(found.mean() - expected) <= 4 * found.std() / np.sqrt(len(found)) + 0.6


def test_the_statistic_stops_at_the_limit_and_at_zero() -> None:
    """After ten thousand rejects as after ten, it takes the same accepted pictures to come back."""
    chart = RejectsChart(p0=0.05, p1=0.1, run_length=5_835)
    for _ in range(10_000):
        chart.observe(rejected=True)
    assert chart.statistic == chart.limit == 6
    for _ in range(6 * 14 - 1):
        chart.observe(rejected=False)
    assert chart.statistic == pytest.approx(1 / 14)
    for _ in range(5):
        chart.observe(rejected=False)
    assert chart.statistic == 0
