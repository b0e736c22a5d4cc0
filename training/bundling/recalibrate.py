"""A threshold from what was learnt in use: labelled pictures, and labels of served pictures; and what it would cost.

Nothing is written until somebody says so. No torch: this runs inside the service's image.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from service.bundle import Bundle, Calibration, LetIn, read_bundle, write_calibration
from service.verdict import accepts
from training.bundling.admission import Admitted, admit
from training.bundling.calibrate import check_count, fit, rule_of
from training.bundling.card import card_files
from training.bundling.labelled_sample import LabelledSample, sample
from training.bundling.labels import Label, Labels, read_labels
from training.bundling.methods import Method
from training.bundling.operating_points import let_in
from training.bundling.thresholds import Rule, Scored, choose
from training.data.contents import listed
from training.data.sets import DataSet, read_data_set, read_pictures
from training.errors import CalibrationError, DataError, SettingError
from training.scoring.pictures import score_pictures

INTERVAL_WIDTH = 0.01
SELECTED = "labels of served pictures that do not represent what was served"
THINNED = "labels left out by chance, so that accepted and rejected pictures are labelled in equal shares"
SAME_REQUEST = "labels left out by chance, so that of each request one counts at most"


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

    @property
    def lost(self) -> list[str]:
        """What the bundle's card tells now and no longer would: all that is not measured here."""
        strangers = self.before.strangers
        points = self.before.operating_points
        has_accuracy = any(point.accuracy_on_accepted is not None for point in points)
        return [
            *([f"what gets in of {', '.join(strangers.sets)}"] if strangers else []),
            *(["the accuracy on accepted pictures"] if has_accuracy else []),
        ]


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

    Raises CalibrationError for a bundle without a calibration and where there is too little to rest on, SettingError
    where nothing is labelled or labels come without verdict lines, DataError for what cannot be read, for pictures that
    the model was fitted on and for those that are labelled both ways.
    """
    bundle = read_bundle(bundle_path)
    before = bundle.calibration
    if before is None:
        raise CalibrationError(f"{bundle_path} has no calibration to compare with; run `mos-guard calibrate` first.")
    _check_sources(verdicts, feedback, data_path)
    pictures = _of_pictures(bundle, data_path)
    names = [group.name for group in bundle.manifest.groups]
    labels = read_labels([*verdicts, *feedback], bundle.manifest, before.thresholds(names))
    chosen = _counted(labels, has_pictures=len(pictures.inside.scores) > 0)
    rule = _rule(bundle, before, tpr, confidence)
    inside = _joined(pictures.inside, [label for label in chosen.kept if label.is_in])
    outside = _joined(pictures.outside, [label for label in chosen.kept if not label.is_in])
    check_count(len(inside.scores), rule, _source(labels))
    about = pictures.about | _about(chosen, verdicts, feedback) | _about_outside(inside, outside, rule)
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
    )


def write(found: Recalibration) -> None:
    """Put the calibration and its card into the bundle."""
    manifest = found.bundle.manifest
    card = card_files(manifest, found.after, found.scored_in, None, interval_width=INTERVAL_WIDTH)
    write_calibration(found.bundle.path, found.after, card)


def _check_sources(verdicts: Sequence[Path], feedback: Sequence[Path], data_path: Path | None) -> None:
    if feedback and not verdicts:
        raise SettingError(
            "Labels come without verdict lines, which have the scores and tell what else was served; give --verdicts."
        )
    if verdicts and not feedback:
        raise SettingError(
            "Verdict lines come without labels; give --feedback with the service's feedback lines, or leave --verdicts "
            "out and give --data with labelled pictures."
        )
    if not feedback and data_path is None:
        raise SettingError(
            "Nothing is labelled; give --feedback and --verdicts with the service's lines, or --data with pictures."
        )


def _rule(bundle: Bundle, before: Calibration, tpr: float | None, confidence: float | None) -> Rule:
    return rule_of(
        bundle.manifest,
        before.tpr if tpr is None else tpr,
        before.confidence if confidence is None else confidence,
        Method.CERTIFIED,
        per_group=bool(before.group_thresholds),
    )


def _of_pictures(bundle: Bundle, path: Path | None) -> _Material:
    if path is None:
        return _Material(_no_scores(), _no_scores(), {})
    if (path / "in").is_dir() or (path / "out").is_dir():
        inside, outside = (read_pictures(path / name) if (path / name).is_dir() else None for name in ("in", "out"))
    else:
        inside, outside = read_data_set(path, bundle.manifest.classes), None
    admitted = {name: admit(data, bundle) for name, data in (("in", inside), ("out", outside)) if data}
    _check_labelled_one_way(admitted)
    scored = {name: _scored(bundle, of_set.data) for name, of_set in admitted.items()}
    about: dict[str, JsonValue] = {f"pictures_{name}": of_set.about for name, of_set in admitted.items()}
    return _Material(scored.get("in", _no_scores()), scored.get("out", _no_scores()), about)


def _check_labelled_one_way(admitted: Mapping[str, Admitted]) -> None:
    if len(admitted) < 2:
        return
    inside, outside = admitted["in"], admitted["out"]
    if both := [inside.data.paths[int(row)] for row in np.flatnonzero(np.isin(inside.hashes, outside.hashes))]:
        raise DataError(
            f"{len(both)} pictures of {inside.data.root} are in {outside.data.root} too, by their content: "
            f"{listed(both)}; leave each in one of the two."
        )


def _scored(bundle: Bundle, data: DataSet) -> Scored:
    return Scored.of(score_pictures(bundle, data, ["score", "class_index"]), bundle.manifest.group_of_class)


def _counted(labels: Labels, *, has_pictures: bool) -> LabelledSample:
    """The labels that count, all others noted as ignored."""
    chosen = sample(labels.usable, labels.logged)
    if chosen.problem and has_pictures:  # which are what their giver says they are, as `calibrate` takes them
        labels.ignored[SELECTED] += len(labels.usable)
    elif chosen.problem:
        raise CalibrationError(f"There is nothing to certify from: {chosen.problem}.")
    else:
        labels.ignored[THINNED] += len(labels.usable) - len(chosen.thinned)
        labels.ignored[SAME_REQUEST] += len(chosen.thinned) - len(chosen.kept)
    return chosen


def _joined(pictures: Scored, labels: Sequence[Label]) -> Scored:
    scores = np.array([label.score for label in labels], np.float64)
    groups = np.array([label.group for label in labels], np.int64)
    return Scored(np.concatenate([pictures.scores, scores]), np.concatenate([pictures.groups, groups]))


def _no_scores() -> Scored:
    return Scored(np.zeros(0), np.zeros(0, np.int64))


def _shares(scored: Scored, bundle: Bundle, before: Calibration, after: Calibration) -> Shares:
    def accepted(calibration: Calibration) -> NDArray[np.bool_]:
        of_group = np.array(calibration.thresholds([group.name for group in bundle.manifest.groups]))
        return accepts(scored.scores, of_group[scored.groups])

    return Shares(let_in(accepted(before), after.confidence), let_in(accepted(after), after.confidence))


def _about_outside(inside: Scored, outside: Scored, rule: Rule) -> dict[str, JsonValue]:
    """What the thresholds let in of what is labelled out."""
    if not len(outside.scores):
        return {}
    return {"labelled_out": let_in(choose(inside, rule).accept(outside), rule.confidence).model_dump(mode="json")}


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
