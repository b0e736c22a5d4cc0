"""The folder of a run: settings beside weights, and the pictures that were held out.

config.json       every setting, the classes, their groups and the data's fingerprint
features/         the feature cache of a frozen backbone
calibration.txt   pictures held out for the threshold, as a list file
validation.txt    pictures held out for choices
checkpoint.pt     the state to resume from
network.pt        the weights, once finished
bundle/           what is served, once exported
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training import checkpoint
from training.data import DataSet, write_list
from training.errors import CheckpointError
from training.groups import Grouping
from training.network import Network
from training.recipes import Recipe
from training.reproduction import Settings

CONFIG_NAME = "config.json"
NETWORK_NAME = "network.pt"
CALIBRATION_NAME = "calibration.txt"
VALIDATION_NAME = "validation.txt"


@dataclass(frozen=True)
class RunConfig:
    """Every setting of a run. `size` is the side of the model's input, `load_size` that before the crop, in pixels."""

    data: Path
    out: Path
    backbone: str
    weights: Path | None
    open_blocks: int | None  # how many of the backbone's last blocks are fitted; None is everything
    online: bool  # run the frozen backbone anew at each step instead of caching its features
    grouping: str | None
    size: int
    load_size: int
    features: Path | None  # folder of the feature cache; None is `out`/features
    views: int  # of each picture in the feature cache
    calibration: float  # share of each class held out for the threshold
    validation: float  # share of each class held out for choices
    recipe: Recipe
    settings: Settings

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def open_run(config: RunConfig, grouping: Grouping, fitted: DataSet, calibration: DataSet, validation: DataSet) -> None:
    """Write what is known before fitting: the settings and the held-out lists."""
    write_list(calibration, config.out / CALIBRATION_NAME)
    write_list(validation, config.out / VALIDATION_NAME)
    groups = [
        {"name": name, "classes": list(members)} for name, members in zip(grouping.names, grouping.members, strict=True)
    ]
    known = {"classes": list(fitted.classes), "groups": groups, "data_fingerprint": fitted.fingerprint()}
    file = config.out / CONFIG_NAME
    temporary = file.with_name(file.name + ".partial")
    temporary.write_text(json.dumps(config.as_json() | known, indent=1), "utf-8")
    temporary.replace(file)


def close_run(config: RunConfig, network: Network) -> None:
    """Write the weights of the finished run."""
    checkpoint.save({"network": network.state_dict()}, config.out / NETWORK_NAME)


def load_run(folder: Path) -> tuple[Network, dict[str, Any]]:
    """The network and the settings of a finished run; CheckpointError where it is not one."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no readable {CONFIG_NAME}; name the folder of a finished run.") from error
    names = tuple(group["name"] for group in config["groups"])
    network = Network(config["backbone"], Grouping(names, tuple(tuple(group["classes"]) for group in config["groups"])))
    network.load_state_dict(checkpoint.load(folder / NETWORK_NAME)["network"])
    return network.eval(), config
