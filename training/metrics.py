"""How well scores tell in-distribution (ID) pictures from out-of-distribution (OOD) ones.

Conventions: ID is the positive class and higher scores are more ID, as in the paper. Fractions, not percent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

TPR = 0.95


def auroc(inside: NDArray[np.floating], outside: NDArray[np.floating]) -> float:
    """Area under the ROC curve; a tie counts one half."""
    return float(roc_auc_score(*_labelled(inside, outside)))


def aupr_in(inside: NDArray[np.floating], outside: NDArray[np.floating]) -> float:
    """Average precision (step rule) with ID as the positive class."""
    return float(average_precision_score(*_labelled(inside, outside)))


def aupr_out(inside: NDArray[np.floating], outside: NDArray[np.floating]) -> float:
    """Average precision (step rule) with OOD as the positive class."""
    labels, scores = _labelled(inside, outside)
    return float(average_precision_score(1 - labels, -scores))


def fpr95(inside: NDArray[np.floating], outside: NDArray[np.floating]) -> float:
    """Share of OOD judged ID at the highest threshold that accepts at least 95 % of ID (`score >= threshold`)."""
    allowed = int(np.floor(round((1 - TPR) * len(inside), 9)))
    threshold = np.sort(inside)[allowed]
    return float((outside >= threshold).mean())


def summary(inside: NDArray[np.floating], outside: NDArray[np.floating]) -> dict[str, float | int]:
    """Every metric of one detector on one OOD set, under the names of `results.json`."""
    return {
        "auroc": auroc(inside, outside),
        "fpr95": fpr95(inside, outside),
        "aupr_in": aupr_in(inside, outside),
        "aupr_out": aupr_out(inside, outside),
        "n_in": len(inside),
        "n_out": len(outside),
    }


def _labelled(
    inside: NDArray[np.floating], outside: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    labels = np.concatenate([np.ones(len(inside), np.int64), np.zeros(len(outside), np.int64)])
    return labels, np.concatenate([inside, outside])
