"""Scores for the tests of thresholds, and the rules that they are judged by."""

import numpy as np
from numpy.typing import ArrayLike

from training.bundling.methods import Method
from training.bundling.thresholds import Rule, Scored


def scored(scores: ArrayLike, groups: ArrayLike = 0) -> Scored:
    """Scores (n,) of pictures whose predicted groups are all the first, or those given."""
    values = np.asarray(scores, np.float64)
    return Scored(values, np.broadcast_to(np.asarray(groups, np.int64), values.shape))


def certified(tpr: float) -> Rule:
    """The default rule at another TPR."""
    return Rule(Method.CERTIFIED, tpr, 0.95)
