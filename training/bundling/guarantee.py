"""What n in-distribution scores can promise: the rank of the threshold, and the exact interval of the true TPR.

Given n exchangeable in-distribution scores, the share of later pictures that falls below the k-th smallest is
distributed as Beta(k, n + 1 - k). The plain 5 % quantile therefore breaks its promise of 95 % about every other time;
a smaller k keeps it.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, binom

from training.errors import CalibrationError

METHOD = "k-th smallest score, k the largest with P(Bin(n, 1 - tpr) >= k) >= confidence"


def threshold_rank(n: int, tpr: float, confidence: float) -> int:
    """The largest k with P(Bin(n, 1 - tpr) >= k) >= confidence.

    Raises CalibrationError when not even k = 1 keeps the promise.
    """
    # sf(k - 1) = P(Bin >= k) falls with k; the inverse is found on the integers, where it is exact.
    candidates = np.arange(1, n + 1)
    kept = binom.sf(candidates - 1, n, 1 - tpr) >= confidence
    if not kept[0]:
        raise CalibrationError(
            f"{n} scores are too few to promise {tpr:.0%} with {confidence:.0%} confidence; "
            f"give at least {minimum_count(tpr, confidence)}."
        )
    return int(kept.sum())


def minimum_count(tpr: float, confidence: float) -> int:
    """The smallest n with 1 - tpr^n >= confidence: 59 at 95 % and 95 %."""
    if not (0 < tpr < 1 and 0 < confidence < 1):
        raise CalibrationError(
            f"A TPR of {tpr} and a confidence of {confidence} must lie between 0 and 1; give such values."
        )
    return int(np.ceil(np.log1p(-confidence) / np.log(tpr)))


def tpr_interval(n: int, k: int, confidence: float) -> tuple[float, float]:
    """The exact two-sided interval of the true TPR at the k-th smallest of n scores: 1 - Beta(k, n + 1 - k)."""
    rejected = beta(k, n + 1 - k)
    return float(1 - rejected.ppf((1 + confidence) / 2)), float(1 - rejected.ppf((1 - confidence) / 2))
