"""The threshold: the largest one that keeps the promised share of in-distribution pictures, with the promised
confidence; beside it other operating points, and what each lets in of foreign pictures.

No torch: this runs inside the service's image. `guarantee.py` has the promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle, Calibration, ReferenceScores, read_bundle, write_calibration
from service.verdict import accepts
from training.bundling.card import card_files
from training.bundling.guarantee import METHOD, minimum_count, threshold_rank, tpr_interval
from training.bundling.operating_points import TPRS, operating_points
from training.bundling.spread import lines, spread
from training.bundling.strangers import JudgedStrangers, judge_strangers, read_strangers
from training.data.series import by_pattern
from training.data.sets import DataSet, read_data_set, read_pictures
from training.errors import CalibrationError, DataError
from training.progress import say
from training.scoring.pictures import score_pictures

REFERENCE_SIZE = 1000
"""How many order statistics are kept for p-values; fewer scores than this are all kept."""


def calibrate(
    bundle_path: Path,
    data_path: Path,
    *,
    tpr: float = 0.95,
    confidence: float = 0.95,
    strangers: Mapping[str, Path] | None = None,
    group_by: str | None = None,
) -> Calibration:
    """Score the pictures under `data_path` with the bundle's model and write its `calibration.json` and its card.

    The pictures must be in-distribution, held out of training, and not those that figures are reported on. `strangers`
    are {name: folder} of foreign pictures; they change no threshold, they are judged by it. With `group_by`, a pattern
    that tells the pictures' series, the spread of acceptance over series is said.
    Raises CalibrationError when there are too few pictures for the promise.
    """
    bundle = read_bundle(bundle_path)
    data, labels = _calibration_pictures(data_path, bundle.manifest.classes)
    required = minimum_count(tpr, confidence)
    if len(data) < required:
        raise CalibrationError(
            f"{data_path} has {len(data)} pictures, too few to promise {tpr:.0%} with {confidence:.0%} confidence; "
            f"give at least {required}."
        )
    groups = None if group_by is None else by_pattern(data.paths, group_by)
    foreign = read_strangers(strangers or {})
    scored = score_pictures(bundle, data, ["score", "class_index"])
    scores = scored["score"].astype(np.float64)
    judged = judge_strangers(bundle, foreign, data) if foreign else None
    calibration = fit(
        scores,
        bundle,
        tpr=tpr,
        confidence=confidence,
        data=data.fingerprint(),
        correct=None if labels is None else scored["class_index"] == labels,
        strangers=judged,
    )
    write_calibration(bundle_path, calibration, card_files(bundle.manifest, calibration, scores, judged))
    if groups is not None:
        names, series = groups
        for line in lines(spread(accepts(scores, calibration.threshold), series, names)):
            say(line)
    return calibration


def fit(
    scores: NDArray[np.float64],
    bundle: Bundle,
    *,
    tpr: float,
    confidence: float,
    data: dict[str, str | int],
    correct: NDArray[np.bool_] | None = None,
    strangers: JudgedStrangers | None = None,
) -> Calibration:
    """The calibration that `scores` (n,) give, bound to the bundle's model and preprocessing.

    `correct` (n,) says whose class was recognised, where the pictures have labels.
    """
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
        operating_points=operating_points(scores, correct, strangers, tprs={*TPRS, tpr}, confidence=confidence),
        strangers=strangers.told if strangers else None,
    )


def _calibration_pictures(path: Path, classes: Sequence[str]) -> tuple[DataSet, NDArray[np.int64] | None]:
    """Every picture under `path`, and their labels (n,) where all of them have one of the bundle's `classes`."""
    pictures = read_pictures(path)
    try:
        labelled = read_data_set(path, classes)
    except DataError:
        return pictures, None
    return (labelled, labelled.labels) if len(labelled) == len(pictures) else (pictures, None)
