"""Whether the scores still come from the distribution that the calibration saw: an e-detector on their p-values.

The p-values of a *fixed* calibration set are not exactly uniform: given the set, the share of scores below its r-th
smallest is some F(s_(r)), distributed as Beta(r, n + 1 - r), and not r / (n + 1). A test of uniformity would find that
difference as if it were drift. So what is tested is not uniformity but

    H0:  P(score < s_(r) | the past) <= lower_r   and   P(score > s_(r) | the past) <= upper_r   for every level r,

where the bounds hold together at the calibration's confidence. Levels cut the scores, and so the p-values, into cells.
Let b be the bounds of one side with b_0 = 0 and b_last = 1, and g concave with g(0) = 0 and g(1) = 1. The factor
L = (g(b_j+1) - g(b_j)) / (b_j+1 - b_j) of the cell that a score falls into is the likelihood ratio of the alternative
g against the worst distribution in H0. Away from that end it falls, so every distribution in H0 gives it a mean of at
most 1. By Shin, Ramdas & Rinaldo, "E-detectors", arXiv 2203.03532, the Shiryaev-Roberts sums

    M = (M + 1) L        one for each alternative,

and their mean satisfy E[M at T] <= E[T] for every stopping time T: the run length until the mean of M reaches a limit
is at least that limit, whatever the distribution within H0, and even where pictures depend on each other. Nothing is
simulated.

Chosen by delay at equal run length, see `tests/benchmarks/drift.py`.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from service.bundle import ReferenceScores

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


# Each is looked for at the low and at the high end. Low: strangers, few or many, very strange or less; and a change of
# everything, such as of the camera. High: the same easy picture again and again. Within 0.9 of one end: the other end
# empties, as when scores draw together.
_ALTERNATIVES = (
    gathered(0.1, within=0.01),
    gathered(0.1, within=0.05),
    gathered(0.3, within=0.05),
    gathered(0.3, within=0.2),
    gathered(0.7, within=0.9),
    shifted(0.25),
    shifted(0.5),
    shifted(1.0),
)


def share_bound(k: int, n: int, error: float) -> float:
    """Return the upper confidence bound q of a share of which *k* in *n* were seen, wrong with at most *error*.

    It is the q with P(Bin(n, q) <= k) = error, equally the 1 - error quantile of Beta(k + 1, n - k), from above:
    below k the binomial probabilities fall faster than a geometric series (Feller, vol. I, VI.3), so that
    P(Bin(n, q) <= k) <= P(Bin(n, q) = k) / (1 - ratio), which is within 1 % of it at the errors in use.
    """
    log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    low, high = k / n, 1.0
    while (q := (low + high) / 2) not in (low, high):
        at_k = math.exp(log_choose + k * math.log(q) + (n - k) * math.log1p(-q))
        ratio = k * (1 - q) / ((n - k + 1) * q)
        if at_k > error * (1 - ratio):
            low = q
        else:
            high = q
    return high


def factors(bounds: Sequence[float], alternative: Alternative) -> NDArray[np.float64]:
    """Return the likelihood ratio of each cell between 0, the ascending *bounds* and 1: (len(bounds) + 1,)."""
    edges = [0.0, *bounds, 1.0]
    return np.diff([alternative(edge) for edge in edges]) / np.diff(edges)


class PValuesChart:
    """The e-detector of a stream of scores against one calibration."""

    def __init__(
        self, reference: ReferenceScores, *, confidence: float, run_length: float, strangers_share: float
    ) -> None:
        ranks = _level_ranks(reference.ranks)
        self._levels = [reference.scores[reference.ranks.index(rank)] for rank in ranks]
        self._factors = _factor_table(ranks, reference.ranks[-1], confidence, strangers_share)
        self._evidence = np.zeros(self._factors.shape[-1])  # M of every alternative
        self._run_length = run_length
        # Where one alternative alone would raise the alarm; more evidence would only be longer remembered.
        self._most_evidence = run_length * len(self._evidence)

    @property
    def statistic(self) -> float:
        """ln(1 + the mean of M), from 0 to `limit`."""
        return math.log1p(min(float(self._evidence.mean()), self._run_length))

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


def _level_ranks(ranks: Sequence[int]) -> list[int]:
    """The stored ranks next to `_LEVELS`, each once."""
    wanted = [bisect_left(ranks, level * ranks[-1]) for level in _LEVELS]
    return [ranks[index] for index in sorted(set(wanted))]


def _factor_table(ranks: Sequence[int], n: int, confidence: float, strangers_share: float) -> NDArray[np.float64]:
    """Return the factors (m + 1, m + 1, alternatives) by how many of the m levels are <= and < the score."""
    error = (1 - confidence) / (2 * len(ranks))  # shared out evenly: the bounds hold together

    def bound(k: int) -> float:
        # Of the strangers that are normal here, all may lie at this end.
        return strangers_share + (1 - strangers_share) * share_bound(k, n, error)

    lower = [bound(rank - 1) for rank in ranks]
    upper = [bound(n - rank) for rank in reversed(ranks)]
    low = np.stack([factors(lower, alternative) for alternative in _ALTERNATIVES], axis=-1)
    high = np.stack([factors(upper, alternative)[::-1] for alternative in _ALTERNATIVES], axis=-1)
    cells = len(ranks) + 1
    shape = (cells, cells, len(_ALTERNATIVES))
    return np.concatenate([np.broadcast_to(low[:, None], shape), np.broadcast_to(high[None], shape)], axis=-1)
