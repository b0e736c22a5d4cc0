"""Whether more pictures are rejected than the calibration allows: a Bernoulli CUSUM.

The chart of Reynolds & Stoumbos, "A CUSUM chart for monitoring a proportion when inspecting continuously", Journal of
Quality Technology 31 (1999), doi 10.1080/00224065.1999.11979900: with X = 1 for a rejected picture and 0 for another,

    S = max(0, S + X - gamma),    gamma = r1 / r2,
    r1 = -ln((1 - p1) / (1 - p0)),    r2 = ln(p1 (1 - p0) / (p0 (1 - p1)))

which is the log likelihood ratio of the reject shares p1 and p0, divided by r2. The alarm is raised at S >= h. The
run length is the expected number of pictures until then; h is chosen by it, never given. It is exact for pictures that
come independently, and longer where fewer than p0 of them are rejected.
"""

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import count, islice

import numpy as np

# gamma is rounded to a fraction of at most this denominator, or to 1/m where that is finer: a coarse grid has few
# states, and the chart depends little on gamma (the run length is exact for the rounded one).
_FINEST_GRID = 20


def reference_value(p0: float, p1: float) -> Fraction:
    """Return gamma between *p0* and *p1*, rounded, so that the statistic lives on the multiples of 1/denominator.

    Rounding takes it no more than half-way to either: at p0 the statistic falls on average, at p1 it rises, and neither
    so slowly that the limit would have to be far away.
    """
    r1 = -math.log((1 - p1) / (1 - p0))
    r2 = math.log(p1 * (1 - p0) / (p0 * (1 - p1)))
    exact = r1 / r2
    denominator = max(_FINEST_GRID, math.ceil(1 / exact))
    while not (p0 + exact) / 2 < (gamma := Fraction(exact).limit_denominator(denominator)) < (exact + p1) / 2:
        denominator *= 2
    return gamma


def run_lengths(p: float, gamma: Fraction) -> Iterator[float]:
    """Yield the exact run length, in pictures at a reject share of *p*, for the limits 1/m, 2/m, 3/m, ... .

    With gamma = a/m the statistic is a Markov chain on 0, 1, 2, ... (in units of 1/m) that goes up by m - a with
    probability p and else down by a, not below 0. A state is a record when it is the highest so far. From record i the
    next one is left[i] = (its distribution over i + 1 ... i + m - a), after spent[i] pictures on average, in which the
    chain may have been anywhere below. The run length to a limit is the sum, over the states below the limit, of the
    probability that the state becomes a record times the pictures spent there.

    Both follow state by state by eliminating the lower states (Grassmann, Taksar & Heyman, Operations Research 33,
    1985): only sums, products and quotients of positive numbers, so that nothing cancels however long the run.
    """
    down, up = gamma.numerator, gamma.denominator - gamma.numerator
    below: deque[tuple[np.ndarray, float]] = deque(maxlen=down)  # (left, spent) of the states i - down ... i - 1
    record = np.zeros(up + 1)  # the probability that i, i + 1, ..., i + up become records
    record[0] = 1
    total = 0.0
    for i in count():
        bottom = max(0, down - i)
        chance = np.zeros(down + 1 + up)  # of going from i to i - down ... i + up
        chance[bottom] = 1 - p
        chance[-1] = p
        pictures = 1.0
        for j, (left, spent) in enumerate(below, start=bottom):
            pictures += chance[j] * spent
            chance[j + 1 : j + 1 + up] += chance[j] * left
        leaving = chance[down + 1 :].sum()
        left, spent = chance[down + 1 :] / leaving, pictures / leaving
        below.append((left, spent))
        total += float(record[0] * spent)
        record = np.append(record[1:] + record[0] * left, 0.0)
        yield total


def run_length(p: float, gamma: Fraction, h: float) -> float:
    """Return the expected number of pictures until the statistic, begun at 0, is at *h* or above."""
    steps = math.ceil(round(h * gamma.denominator, 9))
    return next(islice(run_lengths(p, gamma), steps - 1, None))


class RejectsChart:
    """The Bernoulli CUSUM of a stream of decisions; its limit is the least whose run length at *p0* is long enough."""

    def __init__(self, *, p0: float, p1: float, run_length: float) -> None:
        gamma = reference_value(p0, p1)
        self._down, self._up = gamma.numerator, gamma.denominator - gamma.numerator
        self._steps_to_limit = next(
            steps for steps, expected in enumerate(run_lengths(p0, gamma), start=1) if expected >= run_length
        )
        self._steps = 0  # of 1/denominator each: whole numbers do not drift
        self._denominator = gamma.denominator

    @property
    def statistic(self) -> float:
        """S, in rejected pictures beyond what is expected; from 0 to `limit`."""
        return self._steps / self._denominator

    @property
    def limit(self) -> float:
        """H, the statistic that raises the alarm."""
        return self._steps_to_limit / self._denominator

    def observe(self, *, rejected: bool) -> None:
        """Count one more picture; the statistic stops at the limit, so that a long fault is not long remembered."""
        self._steps += self._up if rejected else -self._down
        self._steps = min(max(self._steps, 0), self._steps_to_limit)
