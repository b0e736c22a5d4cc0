"""The threshold: the largest one that keeps the promised share of in-distribution pictures, with the promised
confidence.

Given n exchangeable in-distribution scores, the share of later pictures that falls below the k-th smallest is
distributed as Beta(k, n + 1 - k). The plain 5 % quantile therefore breaks its promise of 95 % about every other time;
a smaller k keeps it. No torch: this runs inside the service's image.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from service.bundle import Bundle, Calibration, ReferenceScores, read_bundle, write_calibration
from service.verdict import accepts
from training.bundling.spread import lines, spread
from training.data.series import by_pattern
from training.data.sets import read_pictures
from training.errors import CalibrationError
from training.progress import say
from training.scoring.pictures import score_pictures

METHOD = "k-th smallest score, k the largest with P(Bin(n, 1 - tpr) >= k) >= confidence"
REFERENCE_SIZE = 1000
"""How many order statistics are kept for p-values; fewer scores than this are all kept."""


def calibrate(
    bundle_path: Path, data_path: Path, *, tpr: float = 0.95, confidence: float = 0.95, group_by: str | None = None
) -> Calibration:
    """Score the pictures under `data_path` with the bundle's model and write its `calibration.json`.

    The pictures must be in-distribution, held out of training, and not those that figures are reported on. With
    `group_by`, a pattern that tells their series, the spread of acceptance over series is said.
    Raises CalibrationError when they are too few for the promise.
    """
    bundle = read_bundle(bundle_path)
    data = read_pictures(data_path)
    required = minimum_count(tpr, confidence)
    if len(data) < required:
        raise CalibrationError(
            f"{data_path} has {len(data)} pictures, too few to promise {tpr:.0%} with {confidence:.0%} confidence; "
            f"give at least {required}."
        )
    groups = None if group_by is None else by_pattern(data.paths, group_by)
    scores = score_pictures(bundle, data, ["score"])["score"].astype(np.float64)
    calibration = fit(scores, bundle, tpr=tpr, confidence=confidence, data=data.fingerprint())
    write_calibration(bundle_path, calibration)
    if groups is not None:
        names, series = groups
        for line in lines(spread(accepts(scores, calibration.threshold), series, names)):
            say(line)
    return calibration


def fit(
    scores: NDArray[np.float64], bundle: Bundle, *, tpr: float, confidence: float, data: dict[str, str | int]
) -> Calibration:
    """The calibration that `scores` (n,) give, bound to the bundle's model and preprocessing."""
    if not np.isfinite(scores).all():
        raise CalibrationError("The model gave scores that are not numbers; export it again before calibrating.")
    n = len(scores)
    k = threshold_rank(n, tpr, confidence)
    ordered = np.sort(scores)
    threshold = float(ordered[k - 1])
    assert accepts(ordered, threshold).sum() >= n - k + 1, (
        "the k-th smallest score rejects at most k - 1. This is a bug."
    )
    ranks = np.unique(np.linspace(1, n, min(n, REFERENCE_SIZE)).round().astype(int))
    return Calibration(
        threshold=threshold,
        tpr=tpr,
        confidence=confidence,
        method=METHOD,
        n=n,
        k=k,
        tpr_interval=tpr_interval(n, k, confidence),
        model_sha256=bundle.manifest.model_sha256,
        preprocess_sha256=bundle.manifest.input.sha256,
        created=datetime.now(UTC).replace(microsecond=0),
        data=dict(data),
        reference=ReferenceScores(ranks=ranks.tolist(), scores=ordered[ranks - 1].tolist()),
    )


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
