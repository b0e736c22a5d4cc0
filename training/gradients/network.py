"""The torch network behind a bundle, for the detectors that need its gradients: ODIN, and Mahalanobis as the paper's.

Everything here reads pictures anew, uint8 (N, H, W, 3); the other detectors read the outputs of the served model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from service.bundle import Bundle
from training.data.pixels import Pictures, read_ahead
from training.data.sets import DataSet, read_data_set
from training.data.splits import hold_out
from training.detectors import Head, Pass, Statistics
from training.errors import SettingError
from training.gradients import layered_mahalanobis as layered
from training.gradients.perturbation import PUBLISHED_EPSILON, perturbed_logits
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network
from training.model.onnx_extractor import PREFIX
from training.reproduction import Settings, Source
from training.weights.reading import read_backbone

MOST_PICTURES = 20_000
HELD_OUT = 1000  # pictures for the regression of the layered Mahalanobis, as in the authors' code


def rebuild(bundle: Bundle, head: Head) -> Network:
    """The backbone of the exported model with the flat head; the group head is left at zero.

    Raises SettingError where the backbone came as a graph.
    """
    name = bundle.manifest.backbone
    if name.startswith(PREFIX):
        raise SettingError(f"it needs gradients, and {name} is an ONNX graph, which gives none.")
    groups = bundle.manifest.groups
    grouping = Grouping(tuple(group.name for group in groups), tuple(tuple(group.classes) for group in groups))
    extractor = backbone(name)
    read_backbone(bundle.path, extractor)
    network = Network(extractor, grouping).eval().requires_grad_(False)
    network.flat.load_state_dict({"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)})
    return network


def odin_pass(network: Network, statistics: Statistics, source: Source) -> Pass:
    """ODIN's second pass, pictures -> flat logits (N, C), with the step of `paper`, `official` or `corrected`."""
    if source == "corrected":
        epsilon = float(statistics["epsilon"])
    else:
        epsilon = 0.0 if source == "official" else PUBLISHED_EPSILON
    return lambda pixels: perturbed_logits(network, pixels, epsilon=epsilon)


def mahalanobis_pass(network: Network, bundle: Bundle, fit_on: Path, test: DataSet, settings: Settings) -> Pass:
    """The layered Mahalanobis, pictures -> scores (N,), fitted on a labelled set.

    The regression is fitted on some of its pictures that the Gaussians do not see, or, as the authors do, on pictures
    of the ID test set (defect B4).
    """
    data = read_data_set(fit_on, bundle.manifest.classes)
    if settings.mahalanobis == "official":
        held_out, train = _some(test, HELD_OUT), data
    else:
        held_out, train = hold_out(data, (min(0.2, HELD_OUT / len(data)),), seed=0)
    train = _some(train, MOST_PICTURES)
    spec = bundle.manifest.input
    batches = read_ahead(train, layered.BATCH_SIZE, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale)
    clean = Pictures(held_out, spec.jpeg_scale).read(np.arange(len(held_out)), spec.height)
    fitted = layered.fit(network, batches, train.labels, clean, held_out.labels, settings.adversarial_clamp)
    return lambda pixels: fitted.score(network, pixels)


def _some(data: DataSet, count: int) -> DataSet:
    rows = np.random.default_rng(0).permutation(len(data))[:count]
    return data.select(np.sort(rows))
