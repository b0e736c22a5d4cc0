"""MOS with ViM's residual: one statistic of two detectors that fail in opposite places.

MOS says how sure the nearest group is, the residual how much of a feature lies where training features have little.
Each is standardised on held-out in-distribution pictures and the two are summed, so neither needs an OOD picture to
be weighed and the sum is calibrated as one score.

MOS enters as the log-odds of the best group, log((1 - p) / p) with p the smallest *others* score: the same ranking,
but spread out where p itself crowds at 0, so that its deviation is not that of a few pictures (on held-out CIFAR-100
its skewness is 0.1, that of -p is -1.4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.detectors.outputs import FitData, Outputs, Statistics
from training.detectors.vim import fit_residual, residual

NEAREST_TO_ONE = 1 - 2.0**-25
"""A float32 probability above this is 1."""
SMALLEST = float(np.finfo(np.float32).tiny)


def fit(data: FitData) -> Statistics:
    """ViM's `origin` and `null_space`, and the held-out `mos_moments` and `residual_moments`: mean and deviation."""
    space = fit_residual(data.train)
    return {
        **space,
        "mos_moments": _moments(log_odds(data.held_out)),
        "residual_moments": _moments(residual(data.held_out.features, space)),
    }


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """Standardised log-odds of MOS - standardised residual, (N,)."""
    mos_mean, mos_deviation = statistics["mos_moments"]
    residual_mean, residual_deviation = statistics["residual_moments"]
    confidence = (log_odds(outputs) - mos_mean) / mos_deviation
    strangeness = (residual(outputs.features, statistics) - residual_mean) / residual_deviation
    combined: NDArray[np.float64] = confidence - strangeness
    return combined


def log_odds(outputs: Outputs) -> NDArray[np.float64]:
    """max over groups of log((1 - p) / p), p the group's *others* score, within what float32 can tell, (N,)."""
    p = np.clip(outputs.others_scores.min(axis=1).astype(np.float64), SMALLEST, NEAREST_TO_ONE)
    odds: NDArray[np.float64] = np.log1p(-p) - np.log(p)
    return odds


def _moments(values: NDArray[np.float64]) -> NDArray[np.float32]:
    deviation = max(float(values.std()), SMALLEST)  # of equal values nothing can be told
    return np.array([values.mean(), deviation], np.float32)
