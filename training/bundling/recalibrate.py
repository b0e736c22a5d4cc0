"""A threshold from what was learnt in use: labelled pictures, and labels of served pictures; and what it would cost.

Nothing is written until somebody says so. No torch: this runs inside the service's image.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from service.bundle import Bundle, Calibration, LetIn, read_bundle, write_calibration
from service.verdict import accepts
from training.bundling.admission import admit
from training.bundling.calibrate import check_count, fit, rule_of
from training.bundling.card import card_files
from training.bundling.labelled_sample import LabelledSample, sample
from training.bundling.labels import Label, Labels, read_labels
from training.bundling.methods import Method
from training.bundling.operating_points import let_in
from training.bundling.thresholds import Rule, Scored
from training.data.sets import DataSet, read_data_set, read_pictures
from training.errors import CalibrationError, SettingError
from training.scoring.pictures import score_pictures

INTERVAL_WIDTH = 0.01
NO_GROUP = "labels without the predicted class, which thresholds of groups need"
SELECTED = "labels of served pictures that do not represent what was served"
THINNED = "labels left out by chance, so that accepted and rejected pictures are labelled in equal shares"


@dataclass(frozen=True)
class Shares:
    """The share of labelled pictures that the thresholds accept, before and after."""

    before: LetIn
    after: LetIn


@dataclass(frozen=True)
class Recalibration:
    """What a bundle's calibration would become, and what it rests on."""

    bundle: Bundle
    before: Calibration
    after: Calibration
    of_in: Shares  # of pictures labelled in-distribution
    of_out: Shares | None  # of those labelled out
    pictures: int  # labelled pictures that were scored
    labels: int  # labels of served pictures that count
    ignored: Counter[str]
    scored_in: Scored
    problem: str | None  # why this must not be written


@dataclass(frozen=True)
class _Material:
    """Scores by label, and what a calibration's `data` says of their pictures."""

    inside: Scored
    outside: Scored
    about: dict[str, JsonValue]


def recalibrate(
    bundle_path: Path,
    verdicts: Sequence[Path],
    feedback: Sequence[Path],
    data_path: Path | None,
    *,
    tpr: float | None = None,
    confidence: float | None = None,
) -> Recalibration:
    """Say what the threshold would become, certified, on labelled pictures and labels of served ones.

    `data_path` holds folders `in` and `out`, or class folders. Where the bundle has thresholds of groups, so has what
    it would become; `tpr` and `confidence` are the bundle's unless given.

    Raises CalibrationError for a bundle without a calibration and where there is too little to rest on, DataError for
    what cannot be read and for pictures that the model was fitted on.
    """
    bundle = read_bundle(bundle_path)
    before = bundle.calibration
    if before is None:
        raise CalibrationError(f"{bundle_path} has no calibration to compare with; run `mos-guard calibrate` first.")
    if not feedback and data_path is None:
        raise SettingError("Nothing is labelled; give --feedback with the service's lines, or --data with pictures.")
    pictures = _of_pictures(bundle, data_path)
    labels = read_labels([*verdicts, *feedback], bundle.manifest)
    rule = rule_of(
        bundle.manifest,
        before.tpr if tpr is None else tpr,
        before.confidence if confidence is None else confidence,
        Method.CERTIFIED,
        per_group=bool(before.group_thresholds),
    )
    chosen, problem = _counted(labels, rule, has_pictures=len(pictures.inside.scores) > 0)
    inside = _joined(pictures.inside, [label for label in chosen.kept if label.is_in])
    outside = _joined(pictures.outside, [label for label in chosen.kept if not label.is_in])
    check_count(len(inside.scores), rule, _source(labels))
    about = pictures.about | _about(chosen, verdicts, feedback)
    after = fit(inside, bundle, rule, data={"n": len(inside.scores), **about})
    return Recalibration(
        bundle=bundle,
        before=before,
        after=after,
        of_in=_shares(inside, bundle, before, after),
        of_out=_shares(outside, bundle, before, after) if len(outside.scores) else None,
        pictures=len(pictures.inside.scores) + len(pictures.outside.scores),
        labels=len(chosen.kept),
        ignored=labels.ignored,
        scored_in=inside,
        problem=problem,
    )


def write(found: Recalibration) -> None:
    """Put the calibration and its card into the bundle. Raises CalibrationError where it certifies nothing."""
    if found.problem:
        raise CalibrationError(f"Nothing was written: {found.problem}.")
    manifest = found.bundle.manifest
    card = card_files(manifest, found.after, found.scored_in, None, interval_width=INTERVAL_WIDTH)
    write_calibration(found.bundle.path, found.after, card)


def _of_pictures(bundle: Bundle, path: Path | None) -> _Material:
    if path is None:
        return _Material(_no_scores(), _no_scores(), {})
    if (path / "in").is_dir() or (path / "out").is_dir():
        inside, outside = (read_pictures(path / name) if (path / name).is_dir() else None for name in ("in", "out"))
    else:
        inside, outside = read_data_set(path, bundle.manifest.classes), None
    about: dict[str, JsonValue] = {}
    scored = []
    for name, data in (("in", inside), ("out", outside)):
        of_set, told = _scored(bundle, data) if data else (_no_scores(), None)
        scored.append(of_set)
        if told:
            about[f"pictures_{name}"] = told
    return _Material(scored[0], scored[1], about)


def _scored(bundle: Bundle, data: DataSet) -> tuple[Scored, dict[str, JsonValue]]:
    admitted = admit(data, bundle)
    outputs = score_pictures(bundle, admitted.data, ["score", "class_index"])
    return Scored.of(outputs, bundle.manifest.group_of_class), admitted.about


def _counted(labels: Labels, rule: Rule, *, has_pictures: bool) -> tuple[LabelledSample, str | None]:
    """The labels that count, all others noted as ignored, and why what rests on them must not be written."""
    usable = labels.usable
    if rule.group_names:
        usable = [label for label in usable if label.group is not None]
        labels.ignored[NO_GROUP] += len(labels.usable) - len(usable)
    chosen = sample(usable, labels.served, rule.confidence)
    if chosen.problem and has_pictures:  # which are what their giver says they are, as `calibrate` takes them
        labels.ignored[SELECTED] += len(usable)
        return LabelledSample([], {}), None
    if chosen.problem and not chosen.kept:
        raise CalibrationError(f"There is nothing to certify from: {chosen.problem}.")
    labels.ignored[THINNED] += len(usable) - len(chosen.kept)
    return chosen, chosen.problem


def _joined(pictures: Scored, labels: Sequence[Label]) -> Scored:
    scores = np.array([label.score for label in labels], np.float64)
    groups = np.array([label.group or 0 for label in labels], np.int64)  # where it is not known, it does not matter
    return Scored(np.concatenate([pictures.scores, scores]), np.concatenate([pictures.groups, groups]))


def _no_scores() -> Scored:
    return Scored(np.zeros(0), np.zeros(0, np.int64))


def _shares(scored: Scored, bundle: Bundle, before: Calibration, after: Calibration) -> Shares:
    def accepted(calibration: Calibration) -> NDArray[np.bool_]:
        of_group = np.array(calibration.thresholds([group.name for group in bundle.manifest.groups]))
        return accepts(scored.scores, of_group[scored.groups])

    return Shares(let_in(accepted(before), after.confidence), let_in(accepted(after), after.confidence))


def _about(chosen: LabelledSample, verdicts: Sequence[Path], feedback: Sequence[Path]) -> dict[str, JsonValue]:
    """Where labels came from, without the paths of the machine that had the files."""
    files = [("verdicts", file) for file in verdicts] + [("feedback", file) for file in feedback]
    if not files:
        return {}
    return {
        "labels": len(chosen.kept),
        "labelled_shares": {decision: round(share, 6) for decision, share in chosen.shares.items()},
        "files": [{"kind": kind, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for kind, file in files],
    }


def _source(labels: Labels) -> str:
    ignored = ", ".join(f"{count} {why}" for why, count in labels.ignored.items() if count)
    return "What is labelled in-distribution" + (f" (ignored: {ignored})" if ignored else "")
