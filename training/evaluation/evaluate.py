"""How good a bundle is: accuracy on ID data and every detector's figures against OOD sets.

The scoring half runs the ONNX file that will be served and needs no torch; ODIN alone does. The figures follow from
the saved scores alone, so that anyone can check them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle, read_bundle, write_bundle
from service.verdict import accepts
from training.data.sets import DataSet, read_data_set, read_pictures, read_pixels
from training.detectors import DETECTORS, FitData, Head, Outputs, Statistics
from training.detectors.fitted import FILE_NAME, read_detectors
from training.errors import DataError, TrainingError
from training.evaluation.audit import lay_over, read_audit
from training.evaluation.timing import Times, measure
from training.progress import say, track
from training.reproduction import Settings, restored
from training.scoring.pictures import BATCH_SIZE, Session, score_pictures

if TYPE_CHECKING:
    from training.evaluation.intervals import Figures

MODEL_OUTPUTS = ("class_index", "others_scores", "score", "logits", "features")
CLEANED = ".cleaned"
Pass = Callable[[NDArray[np.uint8]], NDArray[Any]]
Values = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Panel:
    """The detectors of one evaluation and what they need."""

    names: tuple[str, ...]
    head: Head
    statistics: Mapping[str, Statistics]
    passes: Mapping[str, Pass]  # {array: pictures (N, H, W, 3) -> array}, for what the served model does not give

    def outputs(self, values: Mapping[str, NDArray[Any]]) -> Outputs:
        """What detectors read, from the arrays of one set."""
        return Outputs(
            values["features"],
            values["others_scores"],
            values["flat_logits"],
            self.head,
            values.get("perturbed_logits"),
        )


@dataclass(frozen=True)
class Evaluation:
    """Outputs and scores of the ID set and each OOD set, and the figures that follow from them.

    An audited set NAME is there twice, whole and as `NAME.cleaned`; averages are over the whole sets.
    """

    scores: dict[str, Values]  # {set: {name: (N, ...)}}; the ID set is "id" and has `labels`
    results: dict[str, dict[str, Figures]]  # {detector: {OOD set: {metric: value}}}
    averages: dict[str, Figures]  # {detector: {metric: value}}
    accuracy: dict[str, float]  # top-1 of the group and of the flat softmax
    accepted: dict[str, float]  # {set: share judged in at the calibrated threshold}
    groups: tuple[str, ...]  # names, in the order of the others scores
    group_of_class: tuple[int, ...]  # (C,)
    times: Times
    notes: tuple[str, ...]  # sentences on what was left out and what audits found


def evaluate(
    bundle_path: Path,
    inside: Path,
    outside: Mapping[str, Path],
    detectors: Sequence[str],
    *,
    audits: Mapping[str, Path] | None = None,
    settings: Settings | None = None,
    fit_on: Path | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score the ID set and each OOD set, and compare them.

    `audits` are {OOD set: audit file}; `fit_on` is a labelled set for the paper's Mahalanobis, which is not fitted at
    export; `seed` is that of the intervals.

    Asked for every detector there is, those that cannot run are left out with a note; asked for by name, that is an
    error. Raises DataError also for an unknown detector, names that do not fit, or a set that cannot be read.
    """
    settings, audits = settings or Settings(), audits or {}
    _check_names(outside, audits)
    bundle = read_bundle(bundle_path)
    id_data = read_data_set(inside, bundle.manifest.classes)
    panel, notes = choose(bundle, detectors, settings, id_data, fit_on)
    ood_data = {name: read_pictures(path) for name, path in outside.items()}
    masks = {name: lay_over(read_audit(file), ood_data[name].paths) for name, file in audits.items()}
    notes += [audit.sentence(name) for name, audit in masks.items()]
    for note in notes:
        say(note)
    seen = collect(bundle, panel, id_data)
    panel = _with_official_templates(panel, seen, id_data, settings)
    scores = {"id": {"labels": id_data.labels} | scored(panel, seen, "the ID set")}
    for name, data in ood_data.items():
        scores[name] = scored(panel, collect(bundle, panel, data), name)
        if name in masks:
            scores[name + CLEANED] = {key: values[masks[name].kept] for key, values in scores[name].items()}
    times = _times(bundle, panel, id_data)
    results, averages = _figures(panel.names, scores, list(outside), settings, seed)
    return Evaluation(
        scores,
        results,
        averages,
        _accuracy(scores["id"]),
        _accepted(bundle, scores),
        tuple(group.name for group in bundle.manifest.groups),
        tuple(bundle.manifest.group_of_class),
        times,
        tuple(notes),
    )


def choose(
    bundle: Bundle, detectors: Sequence[str], settings: Settings, id_data: DataSet, fit_on: Path | None
) -> tuple[Panel, list[str]]:
    """The detectors that run, and a sentence for each that was left out."""
    unknown = [name for name in detectors if name not in DETECTORS]
    if unknown or not detectors:
        raise DataError(f"There is no detector {', '.join(unknown) or 'named'}; choose among {', '.join(DETECTORS)}.")
    head, statistics = read_detectors(bundle.path)
    left_out: dict[str, str] = {}
    passes: dict[str, Pass] = {}
    for name in detectors:
        try:
            passes |= _passes(name, bundle, head, statistics, settings, id_data, fit_on)
        except TrainingError as error:
            left_out[name] = f"{name} cannot run: {error}"
    if left_out and set(detectors) != set(DETECTORS):
        raise DataError(next(iter(left_out.values())))
    names = tuple(name for name in detectors if name not in left_out)
    return Panel(names, head, statistics, passes), list(left_out.values())


def collect(bundle: Bundle, panel: Panel, data: DataSet) -> Values:
    """Model outputs, flat logits and the panel's passes for every picture of `data`."""
    values = score_pictures(bundle, data, MODEL_OUTPUTS)
    values["flat_logits"] = panel.head.logits(values["features"])
    for name, run in panel.passes.items():
        values[name] = _in_batches(run, name, bundle, data)
    return values


def scored(panel: Panel, values: Values, name: str) -> Values:
    """The values with each detector's scores; `name` is the set's, for errors."""
    seen = panel.outputs(values)
    scores = {
        detector: values[detector]
        if detector in panel.passes
        else DETECTORS[detector].score(seen, panel.statistics.get(detector, {}))
        for detector in panel.names
    }
    for detector, found in scores.items():
        if not np.isfinite(found).all():
            raise DataError(f"{detector} gives scores that are not finite on {name}; leave it out with --detectors.")
    return values | scores


def _check_names(outside: Mapping[str, Path], audits: Mapping[str, Path]) -> None:
    if "id" in outside or not outside:
        raise DataError("Name at least one OOD set, as NAME=FOLDER with a name other than `id`.")
    for name in outside:
        if not name or "/" in name or name.endswith(CLEANED):
            raise DataError(f"{name!r} cannot name an OOD set; use a name without `/` that does not end in {CLEANED}.")
    for name in audits:
        if name not in outside:
            raise DataError(
                f"There is an audit of {name!r} but no OOD set of that name; give it as --ood {name}=FOLDER."
            )


def _passes(
    name: str,
    bundle: Bundle,
    head: Head,
    statistics: Mapping[str, Statistics],
    settings: Settings,
    id_data: DataSet,
    fit_on: Path | None,
) -> dict[str, Pass]:
    """What a detector needs beside the served model's outputs. Raises TrainingError where it cannot run."""
    layered = name == "mahalanobis" and settings.mahalanobis != "corrected"
    if name == "odin" or layered:
        if find_spec("torch") is None:
            raise DataError("it needs gradients; install torch (extra `training`) or leave it out.")
        from training.gradients import network as rebuilt

        if name == "odin" and settings.odin_epsilon == "corrected" and not _has_chosen_step(bundle, statistics):
            raise DataError(
                f"the bundle's {FILE_NAME} has no step chosen on held-out pictures; "
                "export it with --setting odin_epsilon=corrected, or use --setting odin_epsilon=paper."
            )
        network = rebuilt.rebuild(bundle, head)
        if name == "odin":
            return {"perturbed_logits": rebuilt.odin_pass(network, statistics.get("odin", {}), settings)}
        if fit_on is None:
            raise DataError("as the paper has it, it is fitted on pictures; name a labelled set with --fit.")
        return {"mahalanobis": rebuilt.mahalanobis_pass(network, bundle, fit_on, id_data, settings)}
    if DETECTORS[name].fit is not None and not statistics.get(name):
        raise DataError(f"the bundle's {FILE_NAME} has no statistics for it; export the bundle again, or leave it out.")
    wanted, exported = settings.kl_templates, _exported(bundle).kl_templates
    # At export both others are of held-out pictures by true class; the authors' own are made from the ID test set.
    if name == "kl_matching" and wanted != "official" and (wanted == "paper") != (exported == "paper"):
        raise DataError(f"the bundle's templates are `{exported}`; export it with --setting kl_templates={wanted}.")
    return {}


def _exported(bundle: Bundle) -> Settings:
    """The settings that the bundle's statistics were fitted with."""
    said = bundle.manifest.training.get("settings", {})
    return restored({name: str(source) for name, source in said.items()}) if isinstance(said, dict) else Settings()


def _has_chosen_step(bundle: Bundle, statistics: Mapping[str, Statistics]) -> bool:
    return "epsilon" in statistics.get("odin", {}) and _exported(bundle).odin_epsilon == "corrected"


def _with_official_templates(panel: Panel, values: Values, data: DataSet, settings: Settings) -> Panel:
    """KL matching as the authors run it: its templates are of the ID test pictures themselves (defects D9 and B4)."""
    fit = DETECTORS["kl_matching"].fit
    if settings.kl_templates != "official" or "kl_matching" not in panel.names or fit is None:
        return panel
    seen = panel.outputs(values)
    templates = fit(FitData(seen, data.labels, seen, data.labels, settings))
    return replace(panel, statistics={**panel.statistics, "kl_matching": templates})


def _in_batches(run: Pass, name: str, bundle: Bundle, data: DataSet) -> NDArray[Any]:
    starts = range(0, len(data), BATCH_SIZE)
    return np.concatenate([run(_batch(bundle, data, start)) for start in track(starts, len(starts), name)])


def _batch(bundle: Bundle, data: DataSet, start: int) -> NDArray[np.uint8]:
    """At most BATCH_SIZE pictures from `start` on, (n, H, W, 3)."""
    spec = bundle.manifest.input

    def read(path: str) -> NDArray[np.uint8]:
        return read_pixels(data.root / path, height=spec.height, width=spec.width)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(read, data.paths[start : start + BATCH_SIZE])))


def _times(bundle: Bundle, panel: Panel, data: DataSet) -> Times:
    """Measured on the first batch of `data`."""
    pixels = _batch(bundle, data, 0)
    session = Session(bundle.model_path.read_bytes())
    values = session.run(pixels, MODEL_OUTPUTS)
    values["flat_logits"] = panel.head.logits(values["features"])
    calls: dict[str, Callable[[], object]] = {
        "forward": partial(session.run, pixels, MODEL_OUTPUTS),
        "flat head": partial(panel.head.logits, values["features"]),
    }
    for name, run in panel.passes.items():
        values[name] = run(pixels)
        calls[f"pass {name}"] = partial(run, pixels)
    seen = panel.outputs(values)
    on_outputs = [name for name in panel.names if name not in panel.passes]
    for name in on_outputs:
        calls[f"score {name}"] = partial(DETECTORS[name].score, seen, panel.statistics.get(name, {}))
    ms = measure(calls, len(pixels))
    own = {"odin": "perturbed_logits", "mahalanobis": "mahalanobis"}
    return Times(
        len(pixels),
        ms["forward"],
        ms["flat head"],
        {name: ms[f"pass {key}"] for name, key in own.items() if key in panel.passes},
        {name: ms.get(f"score {name}", 0.0) for name in panel.names},
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
        inside, outsides = scores["id"][detector], {name: scores[name][detector] for name in drawn}
        by_set, averages[detector] = compare(inside, outsides, averaged, convention(settings), seed)
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
    threshold = bundle.calibration.threshold
    return {name: float(accepts(values["score"], threshold).mean()) for name, values in scores.items()}


def bundle_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """The figures that a bundle carries, without intervals, rounded to what the sample sizes can tell."""
    return {
        "top1": {name: round(value, 4) for name, value in evaluation.accuracy.items()},
        "accepted": {name: round(value, 4) for name, value in evaluation.accepted.items()},
        "ood": {
            detector: {
                name: {key: round(value, 4) for key, value in figures.items() if not isinstance(value, list)}
                for name, figures in by_set.items()
            }
            for detector, by_set in evaluation.results.items()
        },
    }


def record(bundle: Bundle, evaluation: Evaluation) -> None:
    """Write the figures into the bundle's manifest; model, calibration and canaries stay as they are."""
    detectors = bundle.path / FILE_NAME
    write_bundle(
        bundle.path,
        manifest=bundle.manifest.model_copy(update={"metrics": bundle_metrics(evaluation)}),
        model=bundle.model_path.read_bytes(),
        canaries=bundle.canaries,
        calibration=bundle.calibration,
        detectors=detectors.read_bytes() if detectors.is_file() else None,
    )
