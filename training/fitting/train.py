"""From labelled pictures to the weights of a finished run: split, group, fit."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.pixels import Pictures
from training.data.sets import DataSet
from training.distributed import rank
from training.errors import GroupingError, SettingError
from training.fitting.batches import feature_batches, picture_batches
from training.fitting.features import cached_features, extract
from training.fitting.loop import fit
from training.fitting.run import RunConfig, close_run, open_run, split
from training.grouping import groups
from training.grouping.groups import Grouping
from training.grouping.strategies import grouping_of
from training.model.backbone import backbone
from training.model.network import Network
from training.progress import say
from training.weights.reading import read_backbone


def train(config: RunConfig) -> None:
    """Fit a network as `config` says into the folder `config.out`, resuming an interrupted run there."""
    data, (calibration, validation, fitted) = split(config)

    torch.manual_seed(config.recipe.seed)
    grouping = _grouping(config, data, fitted)
    network = Network(config.backbone, grouping, zero_heads=config.settings.head_start != "paper")
    if config.weights is not None:
        read_backbone(config.weights, network.backbone)
    _open_blocks(config, network)
    if rank() == 0:
        say(f"{len(fitted)} pictures to fit, {len(calibration)} to calibrate, {len(validation)} to validate")
        say(f"{config.backbone}, {len(data.classes)} classes in {len(grouping.names)} groups")
        for warning in groups.warnings(grouping):
            say(f"warning: {warning}")
        open_run(config, grouping, fitted, calibration, validation)
    if config.open_blocks == 0 and not config.online:
        network = _fit_heads(config, network, data, fitted, validation)
    else:
        network = _fit_network(config, network, fitted, validation)
    if rank() == 0:
        close_run(config, network)


def _open_blocks(config: RunConfig, network: Network) -> None:
    blocks = len(network.backbone.config.units)
    if config.open_blocks is not None and config.open_blocks > blocks:
        raise SettingError(f"{config.backbone} has {blocks} blocks; open 0 to {blocks} of them, or all.")
    network.backbone.open(config.open_blocks)


def _fit_network(config: RunConfig, network: Network, fitted: DataSet, validation: DataSet) -> Network:
    """On pictures: exact, whatever the recipe does to them."""
    pictures, held_out = Pictures(fitted, config.load_size), Pictures(validation, config.size)

    def report(network: Network) -> str:
        return _accuracy(extract(network.backbone, held_out, bf16=config.recipe.bf16), validation.labels, network)

    return fit(network, picture_batches(pictures, config.size, config.recipe), config.recipe, config.out, report)


def _fit_heads(config: RunConfig, network: Network, data: DataSet, fitted: DataSet, validation: DataSet) -> Network:
    """On cached features: the backbone runs once over each view of a picture instead of once an epoch."""
    if rank() == 0 and config.views > 1:
        say(f"approximate: {config.views} views stand for the augmentation and pictures are not mixed; see --online")
    features = _features(config, network, data)
    seen = torch.from_numpy(features[0, data.rows_of(validation)])
    report = partial(_accuracy, seen, validation.labels)
    batches = feature_batches(features, data.rows_of(fitted), fitted.labels, config.recipe)
    return fit(network, batches, config.recipe, config.out, report, on_features=True)


def _features(config: RunConfig, network: Network, data: DataSet) -> NDArray[np.float32]:
    return cached_features(
        config.features or config.out / "features",
        network.backbone,
        data,
        config.size,
        load_side=config.load_size,
        augmentation=config.recipe.augmentation,
        views=config.views,
        seed=config.recipe.seed,
        bf16=config.recipe.bf16,
    )


def _accuracy(features: Tensor, labels: NDArray[np.int64], network: Network) -> str:
    """A line on both heads' top-1 over the pictures held out for choices."""
    if not len(labels):
        return ""
    device = network.flat.weight.device
    features, target = features.to(device), torch.from_numpy(labels).to(device)
    with torch.no_grad():
        flat = network.flat(features).argmax(dim=1)
        group = network.group.probabilities(network.group(features))[0].argmax(dim=1)
    return f"validation top-1: flat {_share(flat == target):.3f}, group {_share(group == target):.3f}"


def _share(right: Tensor) -> float:
    return float(right.float().mean())


def _grouping(config: RunConfig, data: DataSet, fitted: DataSet) -> Grouping:
    def class_means() -> NDArray[np.float32]:
        """Mean feature of each class (C, D) from the backbone that the run starts with."""
        if config.weights is None:
            raise GroupingError("Clusters need features of a trained backbone; name --weights or another --grouping.")
        extractor = backbone(config.backbone)
        read_backbone(config.weights, extractor)
        pictures = Pictures(fitted, config.size)
        features = extract(extractor, pictures, bf16=config.recipe.bf16).numpy()
        return np.stack([features[fitted.labels == label].mean(axis=0) for label in range(len(data.classes))])

    return grouping_of(config.grouping, data, class_means, seed=config.recipe.seed, settings=config.settings)
