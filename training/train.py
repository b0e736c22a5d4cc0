"""From labelled pictures to a run: split, group, fit, and keep the weights with the settings that made them.

A run folder holds `config.json` (every setting), `calibration.txt` and `validation.txt` (pictures held out of the
fit), `checkpoint.pt` (to resume) and, once finished, `network.pt`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import checkpoint, groups
from training.data import DataSet, hold_out, load_pixels, read_data_set, write_list
from training.distributed import rank
from training.errors import CheckpointError, GroupingError
from training.features import extract
from training.fit import Recipe, fit_heads, fit_network
from training.groups import Grouping
from training.network import Network
from training.progress import say, track

NETWORK_NAME = "network.pt"
CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a run. `size` is the side of the model's input in pixels."""

    data: Path
    out: Path
    backbone: str
    weights: Path | None
    fit: Literal["heads", "network"]
    grouping: str | None
    size: int
    calibration: float  # share of each class held out for the threshold
    validation: float  # share of each class held out for choices
    recipe: Recipe

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        plain = asdict(self) | {"data": str(self.data), "out": str(self.out)}
        return plain | {"weights": None if self.weights is None else str(self.weights)}


def train(config: TrainConfig) -> Path:
    """Fit a network as `config` says, resuming an interrupted run, and return the file of its weights."""
    data = read_data_set(config.data)
    calibration, validation, fitted = hold_out(data, (config.calibration, config.validation), seed=config.recipe.seed)
    config.out.mkdir(parents=True, exist_ok=True)
    if rank() == 0:
        write_list(calibration, config.out / "calibration.txt")
        write_list(validation, config.out / "validation.txt")
        say(f"{len(fitted)} pictures to fit, {len(calibration)} to calibrate, {len(validation)} to validate")
    pixels = _pixels(fitted, config.size, "decoding")
    held_out = _pixels(validation, config.size, "decoding")

    torch.manual_seed(config.recipe.seed)
    grouping = _grouping(config, data, lambda: _class_means(config, pixels, fitted))
    network = Network(config.backbone, grouping)
    if config.weights is not None:
        checkpoint.read_backbone(config.weights, network.backbone)
    config_json = config.as_json() | {
        "classes": list(data.classes),
        "groups": _groups_json(grouping),
        "data_fingerprint": fitted.fingerprint(),
    }
    if rank() == 0:
        _write_config(config.out / CONFIG_NAME, config_json)
        say(f"{config.backbone}, {len(data.classes)} classes in {len(grouping.names)} groups")
    network = _fit(config, network, pixels, fitted.labels, held_out, validation.labels)
    file = config.out / NETWORK_NAME
    if rank() == 0:
        checkpoint.save({"network": network.state_dict()}, file)
    return file


def load_run(run: Path) -> tuple[Network, dict[str, Any]]:
    """The network and the settings of a finished run."""
    try:
        config: dict[str, Any] = json.loads((run / CONFIG_NAME).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run} has no readable {CONFIG_NAME}; name the folder of a finished run.") from error
    names = tuple(group["name"] for group in config["groups"])
    network = Network(config["backbone"], Grouping(names, tuple(tuple(group["classes"]) for group in config["groups"])))
    network.load_state_dict(checkpoint.load(run / NETWORK_NAME)["network"])
    return network.eval(), config


def _fit(
    config: TrainConfig,
    network: Network,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    held_out: NDArray[np.uint8],
    held_out_labels: NDArray[np.int64],
) -> Network:
    if config.fit == "network":
        images = torch.from_numpy(held_out)
        return fit_network(
            network, pixels, labels, config.recipe, config.out, _accuracy(images, held_out_labels, config.recipe.bf16)
        )
    # Two views of each picture, as it is and mirrored, stand for the augmentation: an approximation that lets the
    # frozen backbone run over the pictures once instead of once an epoch.
    views = np.concatenate([pixels, pixels[:, :, ::-1]])
    features = extract(network.backbone, views, bf16=config.recipe.bf16)
    seen = extract(network.backbone, held_out, bf16=config.recipe.bf16)
    return fit_heads(
        network,
        features,
        np.concatenate([labels, labels]),
        config.recipe,
        config.out,
        _head_accuracy(seen, held_out_labels),
    )


def _accuracy(images: Tensor, labels: NDArray[np.int64], bf16: bool) -> Callable[[Network], str]:
    return lambda network: _head_accuracy(extract(network.backbone, images.numpy(), bf16=bf16), labels)(network)


def _head_accuracy(features: Tensor, labels: NDArray[np.int64]) -> Callable[[Network], str]:
    """A line on both heads' top-1 over the pictures held out for choices."""
    target = torch.from_numpy(labels)

    def line(network: Network) -> str:
        if not len(target):
            return ""
        with torch.no_grad():
            flat = network.flat(features).argmax(dim=1)
            group = network.group.probabilities(network.group(features))[0].argmax(dim=1)
        return f"validation top-1: flat {_share(flat == target):.3f}, group {_share(group == target):.3f}"

    return line


def _share(right: Tensor) -> float:
    return float(right.float().mean())


def _pixels(data: DataSet, size: int, what: str) -> NDArray[np.uint8]:
    return load_pixels(data, height=size, width=size, progress=lambda done, total: track(done, total, what))


def _grouping(config: TrainConfig, data: DataSet, class_means: Callable[[], NDArray[np.float32]]) -> Grouping:
    """Resolve `taxonomy:NAME|FILE`, `folders`, `clusters:K` or `random:K`; without one, folders, else 3 clusters.

    Clusters are best at K = 2 or 3 (the paper's supplement).
    """
    default = "folders" if data.superclasses else f"clusters:{min(3, len(data.classes))}"
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


def _class_means(config: TrainConfig, pixels: NDArray[np.uint8], data: DataSet) -> NDArray[np.float32]:
    """Mean feature of each class (C, D) from the backbone that the run starts with."""
    if config.weights is None:
        raise GroupingError("Clusters need features of a trained backbone; name --weights or another --grouping.")
    from training.backbone import backbone

    extractor = backbone(config.backbone)
    checkpoint.read_backbone(config.weights, extractor)
    features = extract(extractor, pixels, bf16=config.recipe.bf16).numpy()
    return np.stack([features[data.labels == label].mean(axis=0) for label in range(len(data.classes))])


def _groups_json(grouping: Grouping) -> list[dict[str, Any]]:
    return [
        {"name": name, "classes": list(members)} for name, members in zip(grouping.names, grouping.members, strict=True)
    ]


def _write_config(file: Path, config: dict[str, Any]) -> None:
    temporary = file.with_name(file.name + ".partial")
    temporary.write_text(json.dumps(config, indent=1), "utf-8")
    temporary.replace(file)
