"""How well scores tell in-distribution (ID) pictures from out-of-distribution (OOD) ones.

ID is the positive class and higher scores are more ID, as in the paper. Fractions, not percent. AUPR is average
precision: precision at each distinct score, weighed by the recall gained there (the step rule, no trapezoids).
Intervals are in training/intervals.py.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from training.errors import DataError
from training.reproduction import Settings

TPR = 0.95
METRICS = ("auroc", "fpr95", "aupr_in", "aupr_out")
Scores = NDArray[np.floating]
Convention = Literal["paper", "nearest", "ood_positive"]
"""How FPR95 is read:

paper          share of OOD judged ID at the highest threshold that keeps at least 95 % of ID
nearest        the same at the threshold whose share of ID is nearest to 95 %, above or below; the official code
ood_positive   share of ID judged OOD at the lowest threshold that finds at least 95 % of OOD; OpenOOD, pytorch-ood
"""


def convention(settings: Settings) -> Convention:
    """The reading of FPR95 that the settings ask for (ledger D7)."""
    return "nearest" if settings.fpr95 == "official" else "paper"


def auroc(inside: Scores, outside: Scores) -> float:
    """Area under the ROC curve; a tie counts one half."""
    return float(roc_auc_score(*_labelled(inside, outside)))


def aupr_in(inside: Scores, outside: Scores) -> float:
    """Average precision with ID as the positive class; scores that tell nothing give the share of ID."""
    return float(average_precision_score(*_labelled(inside, outside)))


def aupr_out(inside: Scores, outside: Scores) -> float:
    """Average precision with OOD as the positive class; scores that tell nothing give the share of OOD."""
    labels, scores = _labelled(inside, outside)
    return float(average_precision_score(1 - labels, -scores))


def fpr95(inside: Scores, outside: Scores, convention: Convention = "paper") -> float:
    """The false-positive rate at a true-positive rate of 95 %, read by `convention`; `in` is `score >= threshold`."""
    _check(inside, outside)
    if convention == "ood_positive":
        return fpr95(-outside, -inside)
    threshold = _nearest_threshold(inside, outside) if convention == "nearest" else _safe_threshold(inside)
    return float((outside >= threshold).mean())


def allowed_losses(count: int) -> int:
    """How many of `count` ID pictures may fall below the threshold: 5 %, rounded down."""
    return int(np.floor(round((1 - TPR) * count, 9)))  # (1 - 0.95) * 20 is a little over 1 in floating point


def summary(inside: Scores, outside: Scores, convention: Convention = "paper") -> dict[str, float | int]:
    """Every metric of one detector on one OOD set, under the names of `results.json`."""
    return {
        "auroc": auroc(inside, outside),
        "fpr95": fpr95(inside, outside, convention),
        "aupr_in": aupr_in(inside, outside),
        "aupr_out": aupr_out(inside, outside),
        "n_in": len(inside),
        "n_out": len(outside),
    }


def _safe_threshold(inside: Scores) -> float:
    return float(np.sort(inside)[allowed_losses(len(inside))])


def _nearest_threshold(inside: Scores, outside: Scores) -> float:
    """Every distinct score is a candidate, an OOD one too; of equally near ones the lowest, as the official code."""
    candidates = np.unique(np.concatenate([inside, outside]))
    candidates = candidates[candidates >= inside.min()]
    kept = len(inside) - np.searchsorted(np.sort(inside), candidates, side="left")
    return float(candidates[np.argmin(np.abs(kept / len(inside) - TPR))])


def _labelled(inside: Scores, outside: Scores) -> tuple[NDArray[np.int64], Scores]:
    _check(inside, outside)
    labels = np.concatenate([np.ones(len(inside), np.int64), np.zeros(len(outside), np.int64)])
    return labels, np.concatenate([inside, outside])


def _check(inside: Scores, outside: Scores) -> None:
    for name, scores in (("ID", inside), ("OOD", outside)):
        if not len(scores) or not np.isfinite(scores).all():
            raise DataError(
                f"The {name} scores are empty or hold values that are not finite; score the pictures again."
            )
