"""Fit every detector on a finished run's own pictures: what goes into a bundle's `detectors.npz`.

Means, covariances and neighbours come from pictures that the run was fitted on; templates and moments from those it
held out for calibration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import InputSpec
from training.bundling.own_pictures import OwnPictures, outputs
from training.data.pixels import Pictures
from training.detectors import FitData, Head
from training.detectors.fitted import fit_statistics
from training.gradients.perturbation import epsilon
from training.model.backbone import Backbone
from training.model.network import Network
from training.reproduction import Settings

ODIN_PIXELS = 512 * 32 * 32
"""ODIN's step is chosen on as many pictures as have this many pixels, each of which is run forth and back six times."""
ODIN_LEAST = 16  # pictures


def detector_statistics(
    network: Network, head: Head, own: OwnPictures, spec: InputSpec, settings: Settings, seed: int
) -> dict[str, NDArray[Any]]:
    """The statistics of every detector, under `DETECTOR/NAME`."""
    held_out = own.calibration if len(own.calibration.data) else own.fitted
    fitted = own.fitted
    statistics = fit_statistics(
        FitData(
            outputs(network, head, fitted.features),
            fitted.data.labels,
            outputs(network, head, held_out.features),
            held_out.data.labels,
            settings.kl_templates,
        )
    )
    if not isinstance(network.backbone, Backbone):
        return statistics  # ODIN takes its step along a gradient, which a graph does not give; `evaluate` says so
    most = max(ODIN_LEAST, ODIN_PIXELS // spec.height**2)
    rows = np.random.default_rng(seed).permutation(len(held_out.data))[:most]
    pixels = Pictures(held_out.data, spec.jpeg_scale).read(np.sort(rows), spec.height)
    statistics["odin/epsilon"] = np.array(epsilon(settings.odin_epsilon, network.eval().requires_grad_(False), pixels))
    return statistics
