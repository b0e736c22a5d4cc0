"""The figures of an evaluation in the manifest of the bundle that was judged."""

from __future__ import annotations

from typing import Any

from service.bundle import FITTED_FILE, Bundle, write_bundle
from training.detectors.fitted import FILE_NAME
from training.evaluation.evaluate import Evaluation


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
    detectors, fitted = bundle.path / FILE_NAME, bundle.path / FITTED_FILE
    write_bundle(
        bundle.path,
        manifest=bundle.manifest.model_copy(update={"metrics": bundle.manifest.metrics | bundle_metrics(evaluation)}),
        model=bundle.model_path.read_bytes(),
        canaries=bundle.canaries,
        calibration=bundle.calibration,
        card=bundle.card,
        detectors=detectors.read_bytes() if detectors.is_file() else None,
        fitted=fitted.read_bytes() if fitted.is_file() else None,
    )
