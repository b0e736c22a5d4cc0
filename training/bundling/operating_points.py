"""Operating points: for each of several TPRs the threshold of the same rule, and what it costs and lets in.

Pure functions of scores. A lower TPR turns more foreign pictures away, and more of one's own; the table of all of them
is what one chooses by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from service.bundle import LetIn, LetInByScale, OperatingPoint
from training.bundling.guarantee import minimum_count
from training.bundling.strangers import JudgedStrangers
from training.bundling.thresholds import Rule, Scored, Thresholds, choose

TPRS = (0.99, 0.98, 0.95, 0.90, 0.80)


def operating_points(
    scored: Scored,
    correct: NDArray[np.bool_] | None,
    strangers: JudgedStrangers | None,
    rule: Rule,
    tprs: Iterable[float],
) -> list[OperatingPoint]:
    """The points of `tprs`, the highest first, on n calibration pictures, without those n is too small for.

    `correct` (n,) says whose class was recognised, where the pictures have labels. Where groups have thresholds of
    their own, shares are by those.
    """
    points = []
    for tpr in sorted(tprs, reverse=True):
        if len(scored.scores) < minimum_count(tpr, rule.confidence, rule.method):
            continue
        chosen = choose(scored, replace(rule, tpr=tpr))
        accuracy = None if correct is None else float(correct[chosen.accept(scored)].mean())
        let = _let_in_by_scale(strangers, chosen, rule.confidence) if strangers else {}
        points.append(
            OperatingPoint(
                tpr=tpr, threshold=chosen.threshold, k=chosen.k, accuracy_on_accepted=accuracy, strangers=let
            )
        )
    return points


def let_in(accepted: NDArray[np.bool_], confidence: float) -> LetIn:
    """The share of pictures (n,) that is let in, with Clopper and Pearson's interval."""
    count, n = int(accepted.sum()), len(accepted)
    limits = binomtest(count, n).proportion_ci(confidence, method="exact")
    return LetIn(share=count / n, n=n, interval=(float(limits.low), float(limits.high)))


def _let_in_by_scale(strangers: JudgedStrangers, chosen: Thresholds, confidence: float) -> dict[str, LetInByScale]:
    return {
        name: LetInByScale(
            scaled=let_in(chosen.accept(strangers.scaled[name]), confidence),
            as_is=let_in(chosen.accept(strangers.as_is[name]), confidence),
        )
        for name in strangers.told.sets
    }
