"""The threshold: the largest one that keeps the promised share of in-distribution pictures, with the promised
confidence; beside it other operating points, and what each lets in of foreign pictures.

No torch: this runs inside the service's image. `guarantee.py` has the promise, `thresholds.py` makes the thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from service.bundle import Bundle, Calibration, Manifest, ReferenceScores, read_bundle, write_calibration
from training.bundling.admission import admit
from training.bundling.card import card_files
from training.bundling.guarantee import minimum_count, pictures_for_width, rank
from training.bundling.methods import Method
from training.bundling.operating_points import TPRS, operating_points
from training.bundling.spread import lines, spread
from training.bundling.strangers import JudgedStrangers, judge_strangers, read_strangers
from training.bundling.thresholds import Rule, Scored, choose
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
    method: Method = Method.CERTIFIED,
    per_group: bool = False,
    strangers: Mapping[str, Path] | None = None,
    group_by: str | None = None,
    interval_width: float = 0.01,
) -> Calibration:
    """Score the pictures under `data_path` with the bundle's model and write its `calibration.json` and its card.

    The pictures must be in-distribution, held out of training, and not those that figures are reported on. With
    `per_group` each predicted group has a threshold of its own where it has pictures enough. `strangers` are
    {name: folder} of foreign pictures; they change no threshold, they are judged by it. With `group_by`, a pattern that
    tells the pictures' series, the spread of acceptance over series is said. The card says how many pictures would make
    the interval of the true TPR `interval_width` wide.

    Raises CalibrationError when there are too few pictures for the method, DataError for pictures that the model was
    fitted on.
    """
    pictures_for_width(interval_width, method, tpr, confidence)  # refuses a width before anything is scored
    bundle = read_bundle(bundle_path)
    rule = rule_of(bundle.manifest, tpr, confidence, method, per_group=per_group)
    pictures, labels = _calibration_pictures(data_path, bundle.manifest.classes)
    check_count(len(pictures), rule, str(data_path))
    admitted = admit(pictures, bundle)
    data = admitted.data
    check_count(len(data), rule, str(data_path))
    series = None if group_by is None else by_pattern(data.paths, group_by)
    foreign = read_strangers(strangers or {})
    outputs = score_pictures(bundle, data, ["score", "class_index"])
    scored = Scored.of(outputs, bundle.manifest.group_of_class)
    judged = judge_strangers(bundle, foreign, data) if foreign else None
    correct = None if labels is None else outputs["class_index"] == labels[admitted.rows]
    calibration = fit(scored, bundle, rule, data=admitted.about, correct=correct, strangers=judged)
    card = card_files(bundle.manifest, calibration, scored, judged, interval_width=interval_width)
    write_calibration(bundle_path, calibration, card)
    if series is not None:
        _say_spread(choose(scored, rule).accept(scored), *series)
    return calibration


def _say_spread(accepted: NDArray[np.bool_], names: Sequence[str], series: NDArray[np.int64]) -> None:
    for line in lines(spread(accepted, series, names)):
        say(line)


def rule_of(manifest: Manifest, tpr: float, confidence: float, method: Method, *, per_group: bool) -> Rule:
    """The rule by which thresholds are chosen for a bundle."""
    names = tuple(group.name for group in manifest.groups) if per_group else ()
    return Rule(method, tpr, confidence, names)


def check_count(n: int, rule: Rule, source: str) -> None:
    """Raise CalibrationError where n pictures are too few for the rule."""
    if n < (required := minimum_count(rule.tpr, rule.confidence, rule.method)):
        raise CalibrationError(
            f"{source} has {n} pictures, too few for a {rule.method} threshold at {100 * rule.tpr:g} % and "
            f"{100 * rule.confidence:g} % confidence; give at least {required}."
        )


def fit(
    scored: Scored,
    bundle: Bundle,
    rule: Rule,
    *,
    data: Mapping[str, JsonValue],
    correct: NDArray[np.bool_] | None = None,
    strangers: JudgedStrangers | None = None,
) -> Calibration:
    """The calibration that the scores of n pictures give, bound to the bundle's model and preprocessing.

    `correct` (n,) says whose class was recognised, where the pictures have labels.
    """
    if not np.isfinite(scored.scores).all():
        raise CalibrationError("The model gave scores that are not numbers; export it again before calibrating.")
    chosen = choose(scored, rule)
    return Calibration(
        threshold=chosen.threshold,
        tpr=rule.tpr,
        confidence=rule.confidence,
        method=rule.method.value,
        n=len(scored.scores),
        k=chosen.k,
        tpr_interval=chosen.tpr_interval,
        model_sha256=bundle.manifest.model_sha256,
        preprocess_sha256=bundle.manifest.input.sha256,
        created=datetime.now(UTC).replace(microsecond=0),
        data=dict(data),
        reference=_reference(scored.scores, rule),
        operating_points=operating_points(scored, correct, strangers, rule, {*TPRS, rule.tpr}),
        strangers=strangers.told if strangers else None,
        group_thresholds=list(chosen.of_groups),
    )


def _reference(scores: NDArray[np.float64], rule: Rule) -> ReferenceScores:
    """Order statistics for p-values, among them the threshold of every method, so that a card can show them all."""
    n = len(scores)
    even = np.linspace(1, n, min(n, REFERENCE_SIZE)).round().astype(int)
    of_methods = [
        rank(method, n, rule.tpr, rule.confidence)
        for method in Method
        if n >= minimum_count(rule.tpr, rule.confidence, method)
    ]
    ranks = np.union1d(even, of_methods).astype(int)
    return ReferenceScores(ranks=ranks.tolist(), scores=np.sort(scores)[ranks - 1].tolist())


def _calibration_pictures(path: Path, classes: Sequence[str]) -> tuple[DataSet, NDArray[np.int64] | None]:
    """Every picture under `path`, and their labels (n,) where all of them have one of the bundle's `classes`."""
    pictures = read_pictures(path)
    try:
        labelled = read_data_set(path, classes)
    except DataError:
        return pictures, None
    return (labelled, labelled.labels) if len(labelled) == len(pictures) else (pictures, None)
