"""Fit every detector on a finished run's own pictures and put what they learn into its bundle's `detectors.npz`.

Means, covariances and neighbours come from pictures that the run was fitted on; templates and moments from those it
held out for calibration. Nothing looks at an OOD picture or at a test set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from service.bundle import Bundle, write_bundle
from training.data.pixels import Pictures
from training.data.sets import DataSet
from training.detectors import FitData, Head, Outputs
from training.detectors.fitted import detectors_file, fit_statistics
from training.fitting.run import split_again
from training.gradients.perturbation import epsilon
from training.model.network import Network
from training.reproduction import restored
from training.scoring.pictures import score_pictures

MOST_PICTURES = 50_000
ODIN_PICTURES = 512


def add_statistics(bundle: Bundle, network: Network, head: Head, config: dict[str, Any]) -> Bundle:
    """Write the bundle again with the statistics of every detector. Raises DataError where the data is gone."""
    settings, seed = restored(config["settings"]), config["recipe"]["seed"]
    calibration, _, fitted = split_again(config)
    held_out = _sample(calibration if len(calibration) else fitted, MOST_PICTURES, seed)
    fitted = _sample(fitted, MOST_PICTURES, seed)
    outputs = [_outputs(bundle, part, head) for part in (fitted, held_out)]
    statistics = fit_statistics(FitData(outputs[0], fitted.labels, outputs[1], held_out.labels, settings))
    shown = _sample(held_out, ODIN_PICTURES, seed)
    pixels = Pictures(shown, config["size"]).at(np.arange(len(shown)))
    statistics["odin/epsilon"] = np.array(epsilon(settings, network.eval().requires_grad_(False), pixels))
    return write_bundle(
        bundle.path,
        manifest=bundle.manifest,
        model=bundle.model_path.read_bytes(),
        canaries=bundle.canaries,
        calibration=bundle.calibration,
        detectors=detectors_file(head, statistics),
    )


def _outputs(bundle: Bundle, data: DataSet, head: Head) -> Outputs:
    scored = score_pictures(bundle, data, ("features", "others_scores"))
    return Outputs(scored["features"], scored["others_scores"], head.logits(scored["features"]), head)


def _sample(data: DataSet, most: int, seed: int) -> DataSet:
    if len(data) <= most:
        return data
    return data.select(np.sort(np.random.default_rng(seed).choice(len(data), most, replace=False)))
