"""A finished run -> a bundle: the ONNX file, what it is, canaries, and the statistics of every detector.

`proof.py` refuses a model that differs from the network that it came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from service.bundle import Bundle, Group, Manifest, sha256_hex, write_bundle
from training.bundling.admission import fitted_file
from training.bundling.fit_detectors import detector_statistics
from training.bundling.graph import Guard
from training.bundling.own_figures import own_figures
from training.bundling.own_pictures import OwnPictures, own_pictures
from training.bundling.proof import Precision, prove
from training.decision.statistic import MOS, Material, fit_statistic, held_out_of
from training.detectors import Head
from training.detectors.fitted import detectors_file
from training.errors import SettingError
from training.fitting.run import FinishedRun, load_run
from training.model.onnx_extractor import OnnxExtractor
from training.model.onnx_graph import fold
from training.reproduction import Settings, change
from training.weights.efficientnet_lite import ORIGIN, packaged_file

STATISTICS_SETTINGS = ("kl_templates", "odin_epsilon")
PROVENANCE = (
    "open_blocks",
    "online",
    "views",
    "grouping",
    "size",
    "calibration",
    "validation",
    "group_by",
    "recipe",
    "settings",
)


def export(
    run_path: Path,
    out: Path,
    *,
    name: str,
    version: str = "1",
    statistics: bool = True,
    changes: Iterable[str] = (),
    decide_by: str | None = None,
    precision: Precision = "float32",
) -> Bundle:
    """Write the bundle of a finished run to `out`, uncalibrated; with `statistics` every detector is fitted for it.

    `precision` is that of the convolutions. `changes` are `NAME=SOURCE` on the run's settings, for the statistics.
    `decide_by` is a statistic in place of the run's own: it is fitted here.

    Raises ExportError when ONNX Runtime does not compute what torch computes, DataError when the run's data is gone.
    """
    run = load_run(run_path)
    if decide_by is not None:
        run = replace(run, config=replace(run.config, decide_by=decide_by))
    settings = _settings(run.config.settings, changes)
    folded, spec, seed = fold(run.network), run.config.input, run.config.recipe.seed
    parts = run.split() if statistics or run.config.decide_by != MOS else None
    own = None if parts is None else own_pictures(run, folded, parts)
    statistic = None if own is None else fit_statistic(run.config.decide_by, folded.group, _material(own), seed=seed)
    proven = prove(Guard(folded, statistic), spec, precision)
    head = Head(folded.flat.weight.detach().numpy(), folded.flat.bias.detach().numpy())
    learnt: dict[str, NDArray[Any]] = {}
    metrics: dict[str, Any] = {}
    if statistics and own and parts:
        learnt = detector_statistics(folded, head, own, spec, settings, seed)
        metrics = own_figures(run, folded, own, parts)
    manifest = _manifest(run, settings, proven.model, name=name, version=version, precision=precision)
    decision = None if statistic is None else statistic.described()
    return write_bundle(
        out,
        manifest=manifest.model_copy(update={"decision": decision, "metrics": metrics}),
        model=proven.model,
        canaries=proven.canaries,
        detectors=detectors_file(head, learnt),
        # Without the run's data what was fitted on is not known, and `calibrate` says so.
        fitted=None if parts is None else fitted_file(parts.fitted),
    )


def _material(own: OwnPictures) -> Material:
    """What the deciding statistic is fitted to; its moments are of other pictures, which do not calibrate either."""
    held_out = held_out_of(own.validation.features, own.calibration.features, own.fitted.features)
    return Material(own.fitted.features, own.fitted.data.labels, held_out)


def _settings(settings: Settings, changes: Iterable[str]) -> Settings:
    """The run's settings, with those of the statistics changed: the others made the weights and stay."""
    for one in changes:
        if one.partition("=")[0] not in STATISTICS_SETTINGS:
            raise SettingError(f"{one!r} is not of the statistics; change {' or '.join(STATISTICS_SETTINGS)} here.")
    return change(settings, changes)


def _manifest(
    run: FinishedRun, settings: Settings, model: bytes, *, name: str, version: str, precision: Precision
) -> Manifest:
    members = zip(run.grouping.names, run.grouping.members, strict=True)
    return Manifest(
        name=name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        model_sha256=sha256_hex(model),
        input=run.config.input,
        classes=list(run.classes),
        groups=[Group(name=group, classes=list(classes)) for group, classes in members],
        backbone=run.config.backbone,
        precision=precision,
        training=_provenance(run, settings),
    )


def _provenance(run: FinishedRun, settings: Settings) -> dict[str, Any]:
    """What made the weights, without the paths of the machine that did."""
    saved = run.config.as_json() | {"settings": asdict(settings)}
    known = {"data": run.data_fingerprint, "weights": _origin(run), "outliers": run.outlier_fingerprints}
    return known | {key: saved[key] for key in PROVENANCE}


def _origin(run: FinishedRun) -> str | None:
    """The weights that a run started from, without the path of the machine that had them."""
    if isinstance(run.network.backbone, OnnxExtractor):
        return run.network.backbone.origin
    if run.config.weights is None:
        return None
    return ORIGIN if run.config.weights == packaged_file() else run.config.weights.name
