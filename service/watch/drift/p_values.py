"""Whether the scores still come from the distribution that the calibration saw: an e-detector on their p-values.

The p-values of a *fixed* calibration set are not exactly uniform. Its order statistics s_(r) cut the scores, and so the
p-values, into cells. Given the set, the chances D of the cells are some numbers: distributed as Dirichlet over the sets
there could be, with the parameter r' - r for the cell between s_(r) and s_(r'). A test of uniformity finds, in time,
how they differ from their means, as if that were drift. So each alternative to be found has a factor L for each cell,
its likelihood ratio against the means, and an upper confidence bound t of E[L] = sum of L D. What is tested is

    H0:  E[L / t | the past] <= 1   for every alternative,

true of an unchanged stream at the calibration's confidence, for all alternatives together. By Shin, Ramdas & Rinaldo,
"E-detectors", New England Journal of Statistics in Data Science 2 (2023), arXiv 2203.03532, the Shiryaev-Roberts sums

    M = (M + 1) L / t   after each picture, one for each alternative,

and their mean then satisfy E[M at T] <= E[T] for every stopping time T: the run length until the mean of M reaches a
limit is at least that limit, whatever the distribution within H0, and even where pictures depend on each other. No
simulation is needed, however long the run.

It was chosen by its delay at equal run length (`python -m tests.benchmarks.drift`; run length 10,000, 728 calibration
scores). Pictures to the alarm at 10, 20 and 50 % rejects; and when all scores fall by 0.25, 0.5 and 1 deviations:

    this one, with the limit that is proven               292   49   12;    851   110   26
    this one, with a limit by simulation, as all below    187   37   10;    491    76   21
    the best of six windows for each change (Kolmogorov-
    Smirnov, Cramer-von Mises; 50, 200, 1,000 pictures) >1798  155   29;    384    87   30
    conformal test martingale, Shiryaev-Roberts           113   31    9;    238    61   20

The martingale, whose p-values are among all scores so far, is quicker because it learns from the stream, and for that
reason was not taken: it learns a fault as well (after 3,000 pictures of one, alarms went on for more than 5,000 good
ones in most streams), takes a change that is there when the process starts for its normal, and needs every score.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from service.bundle import ReferenceScores
from service.watch.drift.dirichlet import mean_bound

# Levels as shares of the calibration scores, closer together towards both ends, where p-values are watched most.
_LEVELS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)

# A concave function on [0, 1] from 0 to 1: the share of scores that will lie below where at most u of them should.
Alternative = Callable[[float], float]


def gathered(share: float, within: float) -> Alternative:
    """A *share* of the pictures is of a kind that scores *within* this outermost part of the others."""
    return lambda u: (1 - share) * u + share * min(1.0, u / within)


def shifted(deviations: float) -> Alternative:
    """All scores move outwards by so many standard deviations, on the scale on which they are normal."""
    normal = NormalDist()
    return lambda u: normal.cdf(normal.inv_cdf(u) + deviations) if 0 < u < 1 else u


def alternatives(strangers_share: float) -> tuple[Alternative, ...]:
    """Return what is looked for, at the low and at the high end alike.

    Low: strangers, few or many, very strange or less; and a change of everything, such as of the camera. High: the same
    easy picture again and again. Within 0.8 of one end: the other end empties, as when scores draw together. Each bets
    on less than it is best at finding, for t takes its part. Where strangers are normal, they may fill one end, and
    what gathers there does so among them.
    """

    def among_strangers(within: float) -> float:
        return strangers_share + (1 - strangers_share) * within

    return (
        gathered(0.03, within=among_strangers(0.01)),
        gathered(0.1, within=among_strangers(0.01)),
        gathered(0.05, within=among_strangers(0.05)),
        gathered(0.3, within=among_strangers(0.2)),
        gathered(0.7, within=among_strangers(0.8)),
        shifted(0.15),
        shifted(0.4),
        shifted(0.9),
    )


def level_ranks(ranks: Sequence[int]) -> list[int]:
    """Return those of the stored *ranks* that are next to the levels, each once."""
    wanted = [bisect_left(ranks, level * ranks[-1]) for level in _LEVELS]
    return [ranks[index] for index in sorted(set(wanted))]


def factor_table(ranks: list[int], n: int, confidence: float, strangers_share: float) -> NDArray[np.float64]:
    """Return L / t (m + 1, m + 1, alternatives) by how many of the m levels are <= and < the score."""
    looked_for = alternatives(strangers_share)
    error = (1 - confidence) / (2 * len(looked_for))  # shared out evenly: the bounds hold together

    def at_one_end(ranks: list[int]) -> NDArray[np.float64]:
        columns = [_factors(ranks, n, alternative, error, strangers_share) for alternative in looked_for]
        return np.stack(columns, axis=-1)

    low = at_one_end(ranks)
    high = at_one_end([n + 1 - rank for rank in reversed(ranks)])[::-1]
    shape = (len(low), *low.shape)
    return np.concatenate([np.broadcast_to(low[:, None], shape), np.broadcast_to(high[None], shape)], axis=-1)


def _factors(
    ranks: list[int], n: int, alternative: Alternative, error: float, strangers_share: float
) -> NDArray[np.float64]:
    """Return L / t of an alternative at the low end, (m + 1,).

    As the alternative is concave, L falls with the score. Therefore ties among scores only make E[L] smaller, and the
    worst that strangers can do is to lie in the lowest cell, all of them: that is where L takes them to be.
    """
    shapes = np.diff([0.0, *ranks, n + 1.0])  # (m + 1,)
    chances = (1 - strangers_share) * shapes / shapes.sum()
    chances[0] += strangers_share
    edges = [0.0, *np.cumsum(chances)[:-1].tolist(), 1.0]
    factors: NDArray[np.float64] = np.diff([alternative(edge) for edge in edges]) / chances
    worst = strangers_share * float(factors[0]) + (1 - strangers_share) * mean_bound(factors, shapes, error)
    return factors / worst


class PValuesChart:
    """The e-detector of a stream of scores against one calibration."""

    def __init__(
        self, reference: ReferenceScores, *, confidence: float, run_length: float, strangers_share: float
    ) -> None:
        ranks = level_ranks(reference.ranks)
        self._levels = [reference.scores[reference.ranks.index(rank)] for rank in ranks]
        self._factors = factor_table(ranks, reference.ranks[-1], confidence, strangers_share)
        self._evidence = np.zeros(self._factors.shape[-1])  # M of every alternative
        self._run_length = run_length
        # Where one alternative alone would raise the alarm; more evidence would only be longer remembered.
        self._most_evidence = run_length * len(self._evidence)

    @property
    def statistic(self) -> float:
        """ln(1 + the mean of M), from 0 to `limit`."""
        mean = float(self._evidence.sum()) / len(self._evidence)
        return math.log1p(min(mean, self._run_length))

    @property
    def limit(self) -> float:
        """ln(1 + the run length), the statistic that raises the alarm."""
        return math.log1p(self._run_length)

    def observe(self, score: float) -> None:
        """Take one more score into account."""
        # A score equal to a level is neither below nor above it.
        below, above = bisect_right(self._levels, score), bisect_left(self._levels, score)
        self._evidence += 1
        self._evidence *= self._factors[below, above]
        np.minimum(self._evidence, self._most_evidence, out=self._evidence)
