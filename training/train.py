"""From labelled pictures to the weights of a finished run: split, group, fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import checkpoint, groups
from training.backbone import backbone
from training.data import DataSet, hold_out, load_pixels, read_data_set
from training.distributed import rank
from training.errors import GroupingError
from training.features import extract
from training.fit import fit_heads, fit_network
from training.groups import Grouping
from training.network import Network
from training.progress import say, track
from training.run import RunConfig, close_run, open_run

DEFAULT_CLUSTERS = 3  # the paper's supplement: clusters are best at K = 2 or 3


def train(config: RunConfig) -> None:
    """Fit a network as `config` says into the folder `config.out`, resuming an interrupted run there."""
    data = read_data_set(config.data)
    calibration, validation, fitted = hold_out(data, (config.calibration, config.validation), seed=config.recipe.seed)
    config.out.mkdir(parents=True, exist_ok=True)
    pixels, held_out = _pixels(fitted, config.size), _pixels(validation, config.size)

    torch.manual_seed(config.recipe.seed)
    grouping = _grouping(config, data, partial(_class_means, config, pixels, fitted))
    network = Network(config.backbone, grouping)
    if config.weights is not None:
        checkpoint.read_backbone(config.weights, network.backbone)
    if rank() == 0:
        say(f"{len(fitted)} pictures to fit, {len(calibration)} to calibrate, {len(validation)} to validate")
        say(f"{config.backbone}, {len(data.classes)} classes in {len(grouping.names)} groups")
        open_run(config, grouping, fitted, calibration, validation)
    network = _fit(config, network, pixels, fitted.labels, held_out, validation.labels)
    if rank() == 0:
        close_run(config, network)


def _fit(
    config: RunConfig,
    network: Network,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    held_out: NDArray[np.uint8],
    held_out_labels: NDArray[np.int64],
) -> Network:
    features_of = partial(extract, bf16=config.recipe.bf16)
    if config.fit == "network":

        def accuracy(network: Network) -> str:
            return _accuracy(features_of(network.backbone, held_out), held_out_labels, network)

        return fit_network(network, pixels, labels, config.recipe, config.out, accuracy)
    # Two views of each picture, as it is and mirrored, stand for the augmentation: an approximation that lets the
    # frozen backbone run over the pictures once instead of once an epoch.
    features = features_of(network.backbone, np.concatenate([pixels, pixels[:, :, ::-1]]))
    seen = features_of(network.backbone, held_out)
    return fit_heads(
        network,
        features,
        np.concatenate([labels, labels]),
        config.recipe,
        config.out,
        partial(_accuracy, seen, held_out_labels),
    )


def _accuracy(features: Tensor, labels: NDArray[np.int64], network: Network) -> str:
    """A line on both heads' top-1 over the pictures held out for choices."""
    if not len(labels):
        return ""
    target = torch.from_numpy(labels)
    with torch.no_grad():
        flat = network.flat(features).argmax(dim=1)
        group = network.group.probabilities(network.group(features))[0].argmax(dim=1)
    return f"validation top-1: flat {_share(flat == target):.3f}, group {_share(group == target):.3f}"


def _share(right: Tensor) -> float:
    return float(right.float().mean())


def _pixels(data: DataSet, size: int) -> NDArray[np.uint8]:
    return load_pixels(data, height=size, width=size, progress=lambda done, total: track(done, total, "decoding"))


def _grouping(config: RunConfig, data: DataSet, class_means: Callable[[], NDArray[np.float32]]) -> Grouping:
    """Resolve `taxonomy:NAME|FILE`, `folders`, `clusters:K` or `random:K`; without one, folders, else clusters."""
    default = "folders" if data.superclasses else f"clusters:{min(DEFAULT_CLUSTERS, len(data.classes))}"
    kind, _, value = (config.grouping or default).partition(":")
    if kind == "taxonomy" and value:
        tree = groups.tree_file(Path(value)) if value.endswith(".json") else groups.built_in_tree(value)
        return groups.from_tree(tree, data.classes)
    if kind == "folders":
        if data.superclasses is None:
            raise GroupingError(
                f"{config.data} has no super-class folders; use --grouping taxonomy:FILE or clusters:K."
            )
        return groups.from_tree(data.superclasses, data.classes)
    if kind == "clusters" and value.isdecimal():
        return groups.by_clustering(class_means(), int(value), seed=config.recipe.seed)
    if kind == "random" and value.isdecimal():
        return groups.at_random(len(data.classes), int(value), seed=config.recipe.seed)
    raise GroupingError(
        f"Grouping {config.grouping!r} is unknown; "
        "use taxonomy:NAME, taxonomy:FILE.json, folders, clusters:K or random:K."
    )


def _class_means(config: RunConfig, pixels: NDArray[np.uint8], data: DataSet) -> NDArray[np.float32]:
    """Mean feature of each class (C, D) from the backbone that the run starts with."""
    if config.weights is None:
        raise GroupingError("Clusters need features of a trained backbone; name --weights or another --grouping.")
    extractor = backbone(config.backbone)
    checkpoint.read_backbone(config.weights, extractor)
    features = extract(extractor, pixels, bf16=config.recipe.bf16).numpy()
    return np.stack([features[data.labels == label].mean(axis=0) for label in range(len(data.classes))])
