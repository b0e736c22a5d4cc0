"""Operating points: for each of several TPRs the certified threshold, and what it costs and lets in.

Pure functions of scores. A lower TPR turns more foreign pictures away, and more of one's own; the table of all of them
is what one chooses by.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from service.bundle import LetIn, LetInByScale, OperatingPoint
from service.verdict import accepts
from training.bundling.guarantee import minimum_count, threshold_rank
from training.bundling.strangers import JudgedStrangers

TPRS = (0.99, 0.98, 0.95, 0.90, 0.80)


def operating_points(
    scores: NDArray[np.float64],
    correct: NDArray[np.bool_] | None,
    strangers: JudgedStrangers | None,
    *,
    tprs: Iterable[float],
    confidence: float,
) -> list[OperatingPoint]:
    """The points of `tprs`, the highest first, on calibration scores (n,), without those n is too small for.

    `correct` (n,) says whose class was recognised, where the pictures have labels.
    """
    ordered = np.sort(scores)
    points = []
    for tpr in sorted(tprs, reverse=True):
        if len(scores) < minimum_count(tpr, confidence):
            continue
        k = threshold_rank(len(scores), tpr, confidence)
        threshold = float(ordered[k - 1])
        accuracy = None if correct is None else float(correct[accepts(scores, threshold)].mean())
        let = _let_in_by_scale(strangers, threshold, confidence) if strangers else {}
        points.append(OperatingPoint(tpr=tpr, threshold=threshold, k=k, accuracy_on_accepted=accuracy, strangers=let))
    return points


def let_in(scores: NDArray[np.floating], threshold: float, confidence: float) -> LetIn:
    """The share of foreign scores (n,) that the threshold lets in, with Clopper and Pearson's interval."""
    count = int(accepts(scores, threshold).sum())
    limits = binomtest(count, len(scores)).proportion_ci(confidence, method="exact")
    return LetIn(share=count / len(scores), n=len(scores), interval=(float(limits.low), float(limits.high)))


def _let_in_by_scale(strangers: JudgedStrangers, threshold: float, confidence: float) -> dict[str, LetInByScale]:
    return {
        name: LetInByScale(
            scaled=let_in(strangers.scaled[name], threshold, confidence),
            as_is=let_in(strangers.as_is[name], threshold, confidence),
        )
        for name in strangers.told.sets
    }
