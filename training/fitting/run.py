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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.data.sets import DataSet, hold_out, read_data_set, with_substitutes, write_list
from training.errors import CheckpointError, DataError
from training.files import write_text
from training.fitting import checkpoint
from training.fitting.recipes import Recipe
from training.grouping.groups import Grouping
from training.model.network import Network
from training.reproduction import Settings, restored

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
    """Write what is known before fitting: the settings and the held-out lists.

    Raises CheckpointError, with nothing changed, where the folder is of a run with other settings, data or groups.
    """
    groups = [
        {"name": name, "classes": list(members)} for name, members in zip(grouping.names, grouping.members, strict=True)
    ]
    known = {"classes": list(fitted.classes), "groups": groups, "data_fingerprint": fitted.fingerprint()}
    content = json.loads(json.dumps(config.as_json() | known))
    file = config.out / CONFIG_NAME
    if file.exists() and (other := _difference(_read_config(config.out), content)):
        raise CheckpointError(
            f"{config.out} is of a run with another {other}; name another --out, or the same settings to resume."
        )
    write_list(calibration, config.out / CALIBRATION_NAME)
    write_list(validation, config.out / VALIDATION_NAME)
    write_text(file, json.dumps(content, indent=1))


def split(config: RunConfig) -> tuple[DataSet, list[DataSet]]:
    """The whole data of a run, and its pictures for calibration, for validation and to fit on."""
    return _split(config.data, (config.calibration, config.validation), config.settings, config.recipe.seed)


def split_again(config: dict[str, Any]) -> list[DataSet]:
    """The pictures for calibration, for validation and to fit on of a finished run, by its saved settings.

    Raises DataError where the data is no longer what the run was fitted on: what was held out is not known then.
    """
    shares = (config["calibration"], config["validation"])
    settings = restored(config["settings"])
    data, parts = _split(Path(config["data"]), shares, settings, config["recipe"]["seed"])
    if parts[-1].fingerprint() != config["data_fingerprint"]:
        raise DataError(
            f"{data.root} is no longer what the run was fitted on, so its held-out pictures are not known; "
            "restore it, or export with --no-statistics."
        )
    return parts


def _split(path: Path, shares: Sequence[float], settings: Settings, seed: int) -> tuple[DataSet, list[DataSet]]:
    data = read_data_set(path)
    if settings.unreadable == "official":
        data = with_substitutes(data, seed=seed)
    return data, hold_out(data, shares, seed=seed)


def close_run(config: RunConfig, network: Network) -> None:
    """Write the weights of the finished run."""
    checkpoint.save({"network": network.state_dict()}, config.out / NETWORK_NAME)


def load_run(folder: Path) -> tuple[Network, dict[str, Any]]:
    """The network and the settings of a finished run; CheckpointError where it is not one."""
    config = _read_config(folder)
    names = tuple(group["name"] for group in config["groups"])
    network = Network(config["backbone"], Grouping(names, tuple(tuple(group["classes"]) for group in config["groups"])))
    network.load_state_dict(checkpoint.load(folder / NETWORK_NAME)["network"])
    return network.eval(), config


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no readable {CONFIG_NAME}; name the folder of a finished run.") from error
    return config


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first setting that differs; where a run and its caches lie does not matter."""
    free = ("out", "features")
    return next((name for name in other if name not in free and one.get(name) != other[name]), None)
