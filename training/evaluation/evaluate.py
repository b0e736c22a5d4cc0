"""How good a bundle is: accuracy on ID data and every detector's figures against OOD sets.

The scoring half runs the ONNX file that will be served and needs no torch; the detectors that need gradients alone do.
The figures follow from the saved scores alone, so that anyone can check them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from service.bundle import Bundle, read_bundle
from service.verdict import accepts
from training.data.sets import DataSet, read_data_set, read_pictures
from training.errors import DataError
from training.evaluation.audit import Audit, lay_over, read_audit
from training.evaluation.collection import Values, add_scores, collect, keep
from training.evaluation.detector_set import DetectorSet, choose
from training.evaluation.timing import Times, time_detectors
from training.progress import say, track
from training.reproduction import Settings
from training.scoring.pictures import batches

if TYPE_CHECKING:
    from training.evaluation.intervals import Figures

CLEANED = ".cleaned"


@dataclass(frozen=True)
class Evaluation:
    """Outputs and scores of the ID set and each OOD set, and the figures that follow from them.

    An audited set NAME is there twice, whole and as `NAME.cleaned`; averages are over the whole sets.
    """

    scores: dict[str, Values]  # {set: {name: (N, ...)}}; the ID set is "id" and has `labels`
    results: dict[str, dict[str, Figures]]  # {detector or what decides: {OOD set: {metric: value}}}
    averages: dict[str, Figures]  # {detector: {metric: value}}
    accuracy: dict[str, float]  # top-1 of the group and of the flat softmax
    accepted: dict[str, float]  # {set: share judged in at the calibrated threshold}
    groups: tuple[str, ...]  # names, in the order of the others scores
    group_of_class: tuple[int, ...]  # (C,)
    times: Times
    notes: tuple[str, ...]  # sentences on what was left out and what audits found


def evaluate(
    bundle_path: Path,
    id_path: Path,
    ood_paths: Mapping[str, Path],
    detectors: Sequence[str],
    *,
    scratch: Path,
    audits: Mapping[str, Path] | None = None,
    settings: Settings | None = None,
    fit_on: Path | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score the ID set and each OOD set, and compare them.

    `scratch` is a folder for the arrays that are too wide for memory; it must outlive the evaluation. `audits` are
    {OOD set: audit file}; `fit_on` is a labelled set for the paper's Mahalanobis, which is not fitted at export; `seed`
    is that of the intervals.

    Asked for every detector there is, those that cannot run are left out with a note; asked for by name, that is an
    error. Raises DataError also for an unknown detector, names that do not fit, or a set that cannot be read.
    """
    settings, audits = settings or Settings(), audits or {}
    _check_names(ood_paths, audits)
    bundle = read_bundle(bundle_path)
    id_data = read_data_set(id_path, bundle.manifest.classes)
    detector_set, notes = choose(bundle, detectors, settings, id_data, fit_on)
    ood_data = {name: read_pictures(path) for name, path in ood_paths.items()}
    masks = {name: lay_over(read_audit(file), list(ood_data[name].paths)) for name, file in audits.items()}
    notes += [audit.sentence(name) for name, audit in masks.items()]
    for note in notes:
        say(note)
    scores = _scores(bundle, detector_set, settings, id_data, ood_data, masks, scratch)
    decided_by = bundle.manifest.decided_by
    judged_by = detector_set.names if decided_by in detector_set.names else (decided_by, *detector_set.names)
    for values in scores.values():
        values[decided_by] = values["score"]  # what the service decides by, to the bit
    results, averages = _figures(judged_by, scores, list(ood_paths), settings, seed)
    return Evaluation(
        scores,
        results,
        averages,
        _accuracy(scores["id"]),
        _accepted(bundle, scores),
        tuple(group.name for group in bundle.manifest.groups),
        tuple(bundle.manifest.group_of_class),
        time_detectors(bundle, detector_set, next(iter(batches(bundle, id_data, "timing")))),
        tuple(notes),
    )


def _scores(
    bundle: Bundle,
    detectors: DetectorSet,
    settings: Settings,
    id_data: DataSet,
    ood_data: Mapping[str, DataSet],
    masks: Mapping[str, Audit],
    scratch: Path,
) -> dict[str, Values]:
    arrays = collect(bundle, detectors, id_data, scratch / "id")
    detectors = detectors.with_official_templates(arrays.values, id_data.labels, settings)
    scores = {"id": {"labels": id_data.labels} | add_scores(detectors, arrays, "the ID set")}
    for number, (name, data) in enumerate(ood_data.items()):
        scores[name] = add_scores(detectors, collect(bundle, detectors, data, scratch / f"ood{number}"), name)
        if name in masks:
            scores[name + CLEANED] = keep(scores[name], masks[name].kept, scratch / f"ood{number}{CLEANED}")
    return scores


def _check_names(ood_paths: Mapping[str, Path], audits: Mapping[str, Path]) -> None:
    if "id" in ood_paths or not ood_paths:
        raise DataError("Name at least one OOD set, as NAME=FOLDER with a name other than `id`.")
    for name in ood_paths:
        if not name or "/" in name or name.endswith(CLEANED):
            raise DataError(f"{name!r} cannot name an OOD set; use a name without `/` that does not end in {CLEANED}.")
    for name in audits:
        if name not in ood_paths:
            raise DataError(
                f"There is an audit of {name!r} but no OOD set of that name; give it as --ood {name}=FOLDER."
            )


def _figures(
    detectors: Sequence[str], scores: Mapping[str, Values], averaged: Sequence[str], settings: Settings, seed: int
) -> tuple[dict[str, dict[str, Figures]], dict[str, Figures]]:
    from training.evaluation.intervals import compare
    from training.evaluation.metrics import convention

    results: dict[str, dict[str, Figures]] = {}
    averages: dict[str, Figures] = {}
    sets = [name for name in scores if name != "id"]
    # The cleaned sets come last, so that an audit does not change what is drawn for the whole ones.
    drawn = [*averaged, *(name for name in sets if name not in averaged)]
    for detector in track(detectors, len(detectors), "figures and intervals"):
        ood_scores = {name: scores[name][detector] for name in drawn}
        by_set, averages[detector] = compare(
            scores["id"][detector], ood_scores, averaged, convention(settings.fpr95), seed
        )
        results[detector] = {name: by_set[name] for name in sets}
    return results, averages


def _accuracy(values: Values) -> dict[str, float]:
    return {
        "group": float((values["class_index"] == values["labels"]).mean()),
        "flat": float((values["flat_logits"].argmax(axis=1) == values["labels"]).mean()),
    }


def _accepted(bundle: Bundle, scores: Mapping[str, Values]) -> dict[str, float]:
    if bundle.calibration is None:
        return {}
    manifest = bundle.manifest
    of_group = np.array(bundle.calibration.thresholds([group.name for group in manifest.groups]))
    of_class = of_group[manifest.group_of_class]  # (C,)
    return {
        name: float(accepts(values["score"], of_class[values["class_index"]]).mean()) for name, values in scores.items()
    }
