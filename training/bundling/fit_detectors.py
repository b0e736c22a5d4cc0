"""Fit every detector on a finished run's own pictures and put what they learn into its bundle's `detectors.npz`.

Means, covariances and neighbours come from pictures that the run was fitted on; templates and moments from those it
held out for calibration. Nothing looks at an OOD picture or at a test set.
"""

from __future__ import annotations

import numpy as np

from service.bundle import Bundle, write_bundle
from training.data.pixels import read_rows
from training.data.sets import DataSet
from training.data.splits import Split
from training.detectors import FitData, Head, Outputs
from training.detectors.fitted import detectors_file, fit_statistics
from training.gradients.perturbation import epsilon
from training.model.network import Network
from training.reproduction import Settings
from training.scoring.pictures import score_pictures

MOST_PICTURES = 50_000
ODIN_PICTURES = 512


def add_statistics(bundle: Bundle, network: Network, head: Head, parts: Split, settings: Settings, seed: int) -> Bundle:
    """Write the bundle again with the statistics of every detector, fitted on the parts of a run's data."""
    held_out = _sample(parts.calibration if len(parts.calibration) else parts.fitted, MOST_PICTURES, seed)
    fitted = _sample(parts.fitted, MOST_PICTURES, seed)
    outputs = [_outputs(bundle, part, head) for part in (fitted, held_out)]
    statistics = fit_statistics(FitData(outputs[0], fitted.labels, outputs[1], held_out.labels, settings.kl_templates))
    some, side = _sample(held_out, ODIN_PICTURES, seed), bundle.manifest.input.height
    pixels = read_rows(some, range(len(some)), height=side, width=side)
    statistics["odin/epsilon"] = np.array(epsilon(settings.odin_epsilon, network.eval().requires_grad_(False), pixels))
    return write_bundle(
        bundle.path,
        manifest=bundle.manifest,
        model=bundle.model_path.read_bytes(),
        canaries=bundle.canaries,
        calibration=bundle.calibration,
        card=bundle.card,
        detectors=detectors_file(head, statistics),
    )


def _outputs(bundle: Bundle, data: DataSet, head: Head) -> Outputs:
    scored = score_pictures(bundle, data, ("features", "others_scores"))
    return Outputs(scored["features"], scored["others_scores"], head.logits(scored["features"]), head)


def _sample(data: DataSet, most: int, seed: int) -> DataSet:
    if len(data) <= most:
        return data
    return data.select(np.sort(np.random.default_rng(seed).choice(len(data), most, replace=False)))
