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
from training.reproduction import Source

TPR = 0.95
METRICS = ("auroc", "fpr95", "aupr_in", "aupr_out")
Scores = NDArray[np.floating]
Convention = Literal["paper", "nearest", "ood_positive"]
"""How FPR95 is read:

paper          share of OOD judged ID at the highest threshold that keeps at least 95 % of ID
nearest        the same at the threshold whose share of ID is nearest to 95 %, above or below; the official code
ood_positive   share of ID judged OOD at the lowest threshold that finds at least 95 % of OOD; OpenOOD, pytorch-ood
"""


def convention(source: Source) -> Convention:
    """How `paper`, `official` or `corrected` reads FPR95 (ledger D7)."""
    return "nearest" if source == "official" else "paper"


def auroc(id_scores: Scores, ood_scores: Scores) -> float:
    """Area under the ROC curve; a tie counts one half."""
    return float(roc_auc_score(*_labelled(id_scores, ood_scores)))


def aupr_in(id_scores: Scores, ood_scores: Scores) -> float:
    """Average precision with ID as the positive class; scores that tell nothing give the share of ID."""
    return float(average_precision_score(*_labelled(id_scores, ood_scores)))


def aupr_out(id_scores: Scores, ood_scores: Scores) -> float:
    """Average precision with OOD as the positive class; scores that tell nothing give the share of OOD."""
    labels, scores = _labelled(id_scores, ood_scores)
    return float(average_precision_score(1 - labels, -scores))


def fpr95(id_scores: Scores, ood_scores: Scores, convention: Convention = "paper") -> float:
    """The false-positive rate at a true-positive rate of 95 %, read by `convention`; `in` is `score >= threshold`."""
    _check(id_scores, ood_scores)
    if convention == "ood_positive":
        return fpr95(-ood_scores, -id_scores)
    threshold = _nearest_threshold(id_scores, ood_scores) if convention == "nearest" else _safe_threshold(id_scores)
    return float((ood_scores >= threshold).mean())


def allowed_losses(count: int) -> int:
    """How many of `count` ID pictures may fall below the threshold: 5 %, rounded down."""
    return int(np.floor(round((1 - TPR) * count, 9)))  # (1 - 0.95) * 20 is a little over 1 in floating point


def summary(id_scores: Scores, ood_scores: Scores, convention: Convention = "paper") -> dict[str, float | int]:
    """Every metric of one detector on one OOD set, under the names of `results.json`."""
    return {
        "auroc": auroc(id_scores, ood_scores),
        "fpr95": fpr95(id_scores, ood_scores, convention),
        "aupr_in": aupr_in(id_scores, ood_scores),
        "aupr_out": aupr_out(id_scores, ood_scores),
        "n_in": len(id_scores),
        "n_out": len(ood_scores),
    }


def _safe_threshold(id_scores: Scores) -> float:
    return float(np.sort(id_scores)[allowed_losses(len(id_scores))])


def _nearest_threshold(id_scores: Scores, ood_scores: Scores) -> float:
    """Every distinct score is a candidate, an OOD one too; of equally near ones the lowest, as the official code."""
    candidates = np.unique(np.concatenate([id_scores, ood_scores]))
    candidates = candidates[candidates >= id_scores.min()]
    kept = len(id_scores) - np.searchsorted(np.sort(id_scores), candidates, side="left")
    return float(candidates[np.argmin(np.abs(kept / len(id_scores) - TPR))])


def _labelled(id_scores: Scores, ood_scores: Scores) -> tuple[NDArray[np.int64], Scores]:
    _check(id_scores, ood_scores)
    labels = np.concatenate([np.ones(len(id_scores), np.int64), np.zeros(len(ood_scores), np.int64)])
    return labels, np.concatenate([id_scores, ood_scores])


def _check(id_scores: Scores, ood_scores: Scores) -> None:
    for name, scores in (("ID", id_scores), ("OOD", ood_scores)):
        if not len(scores) or not np.isfinite(scores).all():
            raise DataError(
                f"The {name} scores are empty or hold values that are not finite; score the pictures again."
            )
