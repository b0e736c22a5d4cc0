"""What n in-distribution scores can promise: the probability that a threshold keeps the wanted TPR, the exact interval
of the true TPR, and how many pictures would narrow it.

Given n exchangeable in-distribution scores, the share of later pictures that falls below the k-th smallest is
distributed as Beta(k, n + 1 - k), whatever the scores' distribution (where scores tie, it is smaller). A smaller k
keeps the promise more surely and lets more foreign pictures in. Three methods choose k.
"""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from math import ceil, floor, log, log1p

from scipy.special import betainc, betaincinv

from training.bundling.methods import Method
from training.errors import CalibrationError

MOST_PICTURES = 10**9  # that anyone is asked for


def rank(method: Method, n: int, tpr: float, confidence: float) -> int:
    """The rank k of the threshold among n scores, from the lowest. Raises CalibrationError where n is too small."""
    if method is Method.CERTIFIED:
        return threshold_rank(n, tpr, confidence)
    if n < (needed := minimum_count(tpr, confidence, method)):
        raise CalibrationError(f"{n} scores are too few for a {method} threshold; give at least {needed}.")
    rejected = 1 - Fraction(str(tpr))  # as it was typed: in binary (1 - 0.9) * 10 is less than 1
    return floor(rejected * (n + 1)) if method is Method.CONFORMAL else max(1, floor(rejected * n))


def threshold_rank(n: int, tpr: float, confidence: float) -> int:
    """The certified rank: the largest k with P(Bin(n, 1 - tpr) >= k) >= confidence.

    Raises CalibrationError when not even k = 1 keeps the promise.
    """
    if n < (needed := minimum_count(tpr, confidence)):
        raise CalibrationError(
            f"{n} scores are too few to promise {100 * tpr:g} % with {100 * confidence:g} % confidence; give at least "
            f"{needed}."
        )
    # The probability falls with k; its inverse is found on the integers, where it is exact.
    return bisect_left(range(1, n + 1), True, key=lambda k: promise_kept(n, k, tpr) < confidence)


def promise_kept(n: int, k: int, tpr: float) -> float:
    """P(true TPR >= tpr) at the k-th smallest of n scores: P(Bin(n, 1 - tpr) >= k)."""
    return float(betainc(k, n + 1 - k, 1 - tpr))


def minimum_count(tpr: float, confidence: float, method: Method = Method.CERTIFIED) -> int:
    """The smallest n that the method has a threshold for; certified, 59 at 95 % and 95 %: 1 - tpr^n >= confidence."""
    if not (0 < tpr < 1 and 0 < confidence < 1):
        raise CalibrationError(
            f"A TPR of {tpr} and a confidence of {confidence} must lie between 0 and 1; give such values."
        )
    if method is Method.CERTIFIED:
        return ceil(log1p(-confidence) / log(tpr))
    return ceil(1 / (1 - Fraction(str(tpr)))) - 1 if method is Method.CONFORMAL else 1


def tpr_interval(n: int, k: int, confidence: float) -> tuple[float, float]:
    """The exact two-sided interval of the true TPR at the k-th smallest of n scores: 1 - Beta(k, n + 1 - k)."""
    return pooled_interval(n, (k, k), 1, confidence)


def pooled_interval(n: int, rejected: tuple[int, int], parts: int, confidence: float) -> tuple[float, float]:
    """An interval of the accept rate where each of several disjoint parts of n scores has a threshold.

    The parts' scores cut their ranges into n + 1 to n + `parts` pieces of equal expected probability, of which from
    `rejected[0]` to `rejected[1]` lie below the thresholds: one more than scores do in each part whose threshold is one
    of its scores. Each limit takes what makes it wider. With one part it is exact; simulations in the tests hold it to
    its confidence with several.
    """
    fewest, most = rejected
    tail = (1 - confidence) / 2
    low = 1 - betaincinv(most, n + 1 - most, 1 - tail)
    high = 1 - betaincinv(fewest, n + parts - fewest, tail) if fewest else 1.0
    return float(low), float(high)


def pictures_for_width(width: float, method: Method, tpr: float, confidence: float) -> int:
    """The smallest n from which on the interval of the true TPR is at most so wide.

    Raises CalibrationError for a width that is no share, or that no reasonable number of pictures gives.
    """
    if not 0 < width < 1:
        raise CalibrationError(f"An interval's width of {width} must lie between 0 and 1; 0.01 is one point.")
    counts = range(minimum_count(tpr, confidence, method), MOST_PICTURES)

    def first_of(k: int) -> int:
        return counts[bisect_left(counts, k, key=lambda n: rank(method, n, tpr, confidence))]

    def wide(n: int, k: int) -> bool:
        low, high = tpr_interval(n, k, confidence)
        return high - low > width

    # The width falls with n until k grows by one, then leaps up and falls on: its peaks are where a k is first reached.
    ranks = range(1, rank(method, counts[-1], tpr, confidence))
    settled = bisect_left(ranks, True, key=lambda k: not wide(first_of(k), k))
    if settled == len(ranks):
        raise CalibrationError(f"No number of pictures up to {MOST_PICTURES:,} narrows the interval to {width}.")
    if settled == 0:
        return counts[0]
    before = range(first_of(ranks[settled] - 1), first_of(ranks[settled]))
    return before.start + bisect_left(before, True, key=lambda n: not wide(n, ranks[settled] - 1))
