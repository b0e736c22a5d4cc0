"""How good a bundle is: accuracy on ID data and every detector's figures against OOD sets.

The scoring half (`collect`) runs the ONNX file that will be served and needs no torch. The figures follow from the
saved scores alone, so that anyone can check them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle, read_bundle, write_bundle
from service.verdict import accepts
from training.data import DataSet, read_data_set, read_pictures
from training.detectors import DETECTORS, Head, Outputs
from training.errors import DataError
from training.scoring import score_pictures

MODEL_OUTPUTS = ("class_index", "others_scores", "score", "logits", "features")
Results = dict[str, dict[str, dict[str, float | int]]]


@dataclass(frozen=True)
class Evaluation:
    """Outputs and scores of the ID set and each OOD set, and the figures that follow from them."""

    scores: dict[str, dict[str, NDArray[Any]]]  # {set: {name: (N, ...)}}; the ID set is "id"
    results: Results  # {detector: {OOD set: {metric: value}}}
    accuracy: dict[str, float]  # top-1 of the group and of the flat softmax
    accepted: dict[str, float]  # {set: share judged in at the calibrated threshold}
    groups: tuple[str, ...]  # names, in the order of the others scores


def evaluate(bundle_path: Path, inside: Path, outside: Mapping[str, Path], detectors: Sequence[str]) -> Evaluation:
    """Score the ID set and each OOD set, and compare them.

    Raises DataError for an unknown detector, an OOD set named `id`, or a set that cannot be read.
    """
    from training.metrics import summary

    unknown = [name for name in detectors if name not in DETECTORS]
    if unknown:
        raise DataError(f"There is no detector {unknown[0]!r}; choose among {', '.join(DETECTORS)}.")
    if "id" in outside or not outside:
        raise DataError("Name at least one OOD set, as NAME=FOLDER with a name other than `id`.")
    bundle = read_bundle(bundle_path)
    id_data = read_data_set(inside, bundle.manifest.classes)
    scores = {"id": collect(bundle, id_data, detectors)}
    for name, path in outside.items():
        scores[name] = collect(bundle, read_pictures(path), detectors)
    results: Results = {
        detector: {name: summary(scores["id"][detector], scores[name][detector]) for name in outside}
        for detector in detectors
    }
    names = tuple(group.name for group in bundle.manifest.groups)
    return Evaluation(scores, results, _accuracy(scores["id"], id_data), _accepted(bundle, scores), names)


def collect(bundle: Bundle, data: DataSet, detectors: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Model outputs, flat logits and each detector's scores for every picture of `data`."""
    outputs = score_pictures(bundle, data, MODEL_OUTPUTS)
    head = _flat_head(bundle)
    outputs["flat_logits"] = head.logits(outputs["features"])
    seen = Outputs(outputs["features"], outputs["others_scores"], outputs["flat_logits"], head)
    return outputs | {name: DETECTORS[name].score(seen, {}) for name in detectors}


def _flat_head(bundle: Bundle) -> Head:
    file = bundle.path / "detectors.npz"
    if not file.is_file():
        raise DataError(f"{file} is missing, and with it the flat head; export the bundle again.")
    with np.load(file, allow_pickle=False) as saved:
        return Head(saved["flat_weight"], saved["flat_bias"])


def _accuracy(scores: Mapping[str, NDArray[Any]], data: DataSet) -> dict[str, float]:
    return {
        "group": float((scores["class_index"] == data.labels).mean()),
        "flat": float((scores["flat_logits"].argmax(axis=1) == data.labels).mean()),
    }


def _accepted(bundle: Bundle, scores: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, float]:
    if bundle.calibration is None:
        return {}
    threshold = bundle.calibration.threshold
    return {name: float(accepts(values["score"], threshold).mean()) for name, values in scores.items()}


def bundle_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """The figures that a bundle carries, rounded to what the sample sizes can tell."""
    return {
        "top1": {name: round(value, 4) for name, value in evaluation.accuracy.items()},
        "accepted": {name: round(value, 4) for name, value in evaluation.accepted.items()},
        "ood": {
            detector: {
                name: {key: round(value, 4) for key, value in figures.items()} for name, figures in by_set.items()
            }
            for detector, by_set in evaluation.results.items()
        },
    }


def record(bundle: Bundle, evaluation: Evaluation) -> None:
    """Write the figures into the bundle's manifest; model, calibration and canaries stay as they are."""
    detectors = bundle.path / "detectors.npz"
    write_bundle(
        bundle.path,
        manifest=bundle.manifest.model_copy(update={"metrics": bundle_metrics(evaluation)}),
        model=bundle.model_path.read_bytes(),
        canaries=bundle.canaries,
        calibration=bundle.calibration,
        detectors=detectors.read_bytes() if detectors.is_file() else None,
    )


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Write `results.json`, `scores.npz`, the tables and the pictures to a folder."""
    from training.report import draw, tables

    out.mkdir(parents=True, exist_ok=True)
    flat = {f"{name}/{key}": value for name, values in evaluation.scores.items() for key, value in values.items()}
    np.savez(out / "scores.npz", **flat)  # type: ignore[arg-type]
    (out / "results.json").write_text(json.dumps(evaluation.results, indent=1) + "\n", "utf-8")
    for name, text in tables(evaluation).items():
        (out / name).write_text(text, "utf-8")
    draw(evaluation, out)
