"""The folder of a run: settings beside weights, and the pictures that were held out.

config.json       every setting, the classes, their groups and the data's fingerprint
features/         the feature cache of a frozen backbone
split.npz         which part each picture is in, and its series
calibration.txt   pictures held out for the threshold, as a list file
validation.txt    pictures held out for choices
checkpoint.pt     the state to resume from
network.pt        the weights, once finished
backbone.onnx     the frozen backbone, where it is a graph of one's own
bundle/           what is served, once exported
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from service.bundle import InputSpec
from service.preprocess import JpegScale
from training.data.lists import write_list
from training.data.pixels import Pictures
from training.data.series import Series
from training.data.sets import DataSet, read_data_set
from training.data.splits import Split, split, split_by_part, with_substitutes
from training.errors import CheckpointError, DataError
from training.files import replacing, write_text
from training.fitting import checkpoint
from training.fitting.recipes import Recipe
from training.grouping.groups import Grouping
from training.model.backbone import FeatureExtractor
from training.model.backbones import backbone
from training.model.network import Network
from training.model.onnx_extractor import OnnxExtractor, load_extractor
from training.reproduction import Settings, restored
from training.weights.own_graph.reading import GraphOptions, is_own_graph

CONFIG_NAME = "config.json"
NETWORK_NAME = "network.pt"
GRAPH_NAME = "backbone.onnx"
SPLIT_NAME = "split.npz"
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
    half_features: bool = False  # keep cached features as float16
    outliers: tuple[str, ...] = ()  # folders or lists of foreign pictures, or the word `procedural`
    teacher: Path | None = None  # folder of a finished run to learn from
    decide_by: str = "mos"  # the statistic that decides, its parts joined by +
    group_by: str | None = None  # the pattern that tells a picture's series from its path
    jpeg_scale: JpegScale = "full"  # how JPEGs are decoded, by the bundle too
    graph: GraphOptions | None = None  # of a backbone that is a graph of one's own

    @property
    def on_features(self) -> bool:
        """Whether the heads are fitted on cached features of a frozen backbone."""
        return self.open_blocks == 0 and not self.online

    def read(self) -> DataSet:
        """The data of the run."""
        data = read_data_set(self.data)
        return with_substitutes(data, seed=self.recipe.seed) if self.settings.unreadable == "official" else data

    @property
    def input(self) -> InputSpec:
        """What a picture becomes before the model sees it."""
        return InputSpec(height=self.size, width=self.size, jpeg_scale=self.jpeg_scale)

    def pictures(self, data: DataSet) -> Pictures:
        """Some of the run's data, decoded as it will be when it is served."""
        return Pictures(data, self.jpeg_scale)

    def split(self, whole: DataSet, series: Series | None = None) -> Split:
        """The data of the run in its parts: as an interrupted run in `out` or the teacher drew them, or drawn anew.

        A teacher's own split, so that it has seen nothing that its pupil holds out.
        """
        drawn = read_split(self.out, whole) or (read_split(self.teacher, whole) if self.teacher else None)
        return drawn or split(
            whole, calibration=self.calibration, validation=self.validation, seed=self.recipe.seed, series=series
        )

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind in `folder`."""

    folder: Path
    config: RunConfig
    classes: tuple[str, ...]
    grouping: Grouping
    data_fingerprint: dict[str, Any]
    outlier_fingerprints: dict[str, Any]  # of each kind of foreign pictures
    network: Network

    def split(self) -> Split:
        """The parts of the data that the run was fitted on.

        Raises DataError where the data is no longer the same: what was held out is not known then.
        """
        parts = read_split(self.folder, self.config.read())
        if parts is None or parts.fitted.fingerprint() != self.data_fingerprint:
            raise DataError(
                f"{self.config.data} is no longer what the run was fitted on, so its held-out pictures are not known; "
                "restore it, or export with --no-statistics --decide-by mos."
            )
        return parts


def open_run(config: RunConfig, grouping: Grouping, parts: Split, outliers: Mapping[str, Any] | None = None) -> None:
    """Write what is known before fitting: the settings, the split, the held-out lists and the outliers' fingerprints.

    Raises CheckpointError, with nothing changed, where the folder is of a run with other settings, data or groups.
    """
    groups = [
        {"name": name, "classes": list(members)} for name, members in zip(grouping.names, grouping.members, strict=True)
    ]
    known = {
        "classes": list(parts.whole.classes),
        "groups": groups,
        "data_fingerprint": parts.fitted.fingerprint(),
        "outlier_fingerprints": dict(outliers or {}),
    }
    content = config.as_json() | json.loads(json.dumps(known))
    file = config.out / CONFIG_NAME
    if file.exists() and (other := _difference(_read_config(config.out), content)):
        raise CheckpointError(
            f"{config.out} is of a run with another {other}; name another --out, or the same settings to resume."
        )
    for name, part in ((CALIBRATION_NAME, parts.calibration), (VALIDATION_NAME, parts.validation)):
        write_list(part.root, part.paths, part.labels, config.out / name)
    write_text(file, json.dumps(content, indent=1))
    # After the settings, so that a split always lies beside those that it was drawn by.
    _write_split(parts, config.out / SPLIT_NAME)


def read_split(folder: Path, whole: DataSet) -> Split | None:
    """The split that the run in `folder` drew of `whole`; None where there is none, or one of another number.

    Raises CheckpointError for a damaged file.
    """
    file = folder / SPLIT_NAME
    if not file.is_file():
        return None
    try:
        with np.load(file) as saved:
            part, series = saved["part"], saved.get("series")
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise CheckpointError(f"{file} is damaged; name another --out and fit again.") from error
    return split_by_part(whole, part, series) if len(part) == len(whole) else None


def _write_split(parts: Split, file: Path) -> None:
    arrays: dict[str, Any] = (
        {"part": parts.part} if parts.series is None else {"part": parts.part, "series": parts.series}
    )
    with replacing(file) as draft:
        np.savez(draft, **arrays)


def close_run(folder: Path, network: Network) -> None:
    """Write the weights of the finished run, those of a backbone that is a graph first."""
    if isinstance(network.backbone, OnnxExtractor):
        network.backbone.save(folder / GRAPH_NAME)
    checkpoint.save({"network": network.state_dict()}, folder / NETWORK_NAME)


def load_run(folder: Path) -> FinishedRun:
    """What a finished run left in its folder; CheckpointError where it is not one."""
    saved = _read_config(folder)
    weights = checkpoint.load(folder / NETWORK_NAME)["network"]
    groups, classes, fingerprint = (saved.pop(name) for name in ("groups", "classes", "data_fingerprint"))
    foreign = saved.pop("outlier_fingerprints", {})
    grouping = Grouping(tuple(group["name"] for group in groups), tuple(tuple(group["classes"]) for group in groups))
    network = Network(_backbone(folder, saved["backbone"]), grouping)
    network.load_state_dict(weights)
    return FinishedRun(folder, _config(saved), tuple(classes), grouping, fingerprint, foreign, network.eval())


def _backbone(folder: Path, name: str) -> FeatureExtractor:
    return load_extractor(folder / GRAPH_NAME) if is_own_graph(name) else backbone(name)


def _config(saved: dict[str, Any]) -> RunConfig:
    paths = {name: saved.get(name) and Path(saved[name]) for name in ("data", "out", "weights", "features", "teacher")}
    lists = {"outliers": tuple(saved.get("outliers", ()))}
    graph = saved.get("graph") and GraphOptions(**saved["graph"])
    nested = {"recipe": Recipe(**saved["recipe"]), "settings": restored(saved["settings"]), "graph": graph}
    return RunConfig(**{**saved, **paths, **nested, **lists})


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
