"""From what a person typed to the settings of a run: defaults that depend on the data, the weights and the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.bundle import read_bundle
from training.commands import defaults
from training.data.outliers import PROCEDURAL
from training.data.pixels import picture_size
from training.data.sets import DataSet
from training.decision.statistic import part_names
from training.distributed import local_rank, rank, wait_for_all
from training.errors import SettingError, UnknownBackbone
from training.fitting import hyperrule, recipes
from training.fitting.recipes import Recipe
from training.fitting.run import CONFIG_NAME
from training.model.efficientnet_lite import LITE0
from training.model.onnx_extractor import PREFIX
from training.progress import say
from training.reproduction import Settings
from training.weights.efficientnet_lite import PACKAGE, packaged_file
from training.weights.own_graph.normalisation import channels
from training.weights.own_graph.reading import GraphOptions, is_own_graph, read_own_graph
from training.weights.reading import backbone_name, find_weights
from training.weights.shipped import SHIPPED_BUNDLE

SMALL_SIDE = 32
NO_OUTLIERS = "none"
PAPER_SETTINGS = ("mixup", "flip", "schedule", "accumulation")


def warn(sentence: str) -> None:
    """One process of a run warns for all."""
    if rank() == 0:
        say(f"warning: {sentence}")


def open_blocks(text: str) -> int | None:
    """`0` to `4`, or `all` as None. Raises SettingError."""
    if text == "all":
        return None
    if text not in ("0", "1", "2", "3", "4"):
        raise SettingError(f"--open-blocks is {text!r}; write 0 to 4, or all.")
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """Comma-separated numbers. Raises SettingError."""
    if not all(part.strip().isdecimal() for part in text.split(",")) and text:
        raise SettingError(f"--values is {text!r}; write numbers with commas between them.")
    return tuple(int(part) for part in text.split(",")) if text else ()


def starting_point(blocks: int | None, backbone: str | None, weights: str | None) -> tuple[str, Path | None]:
    """The backbone's name and the weights to start from; a frozen backbone needs some: ImageNet's by default, or the
    shipped ones where their package is missing.

    `weights` is a path or the name of published weights, which one process of a machine downloads for all.
    Raises UnknownBackbone where the name is neither given nor told by the weights, SettingError for a frozen backbone
    without weights.
    """
    if backbone is not None and is_own_graph(backbone):
        return _own_graph(Path(backbone.removeprefix(PREFIX)), blocks, weights)
    if weights is None and backbone == LITE0:
        weights = LITE0
    if weights is None and blocks == 0 and backbone is None:
        weights = _own_default()
    if weights is None:
        if backbone is None:
            raise UnknownBackbone("The backbone's name is not known; give --backbone or --weights.")
        if blocks == 0:
            raise SettingError(f"{backbone} would stay as it is, at random; name its --weights, or --open-blocks all.")
        return backbone, None
    if local_rank() == 0:
        find_weights(weights)
    wait_for_all()
    source = find_weights(weights)
    return backbone or backbone_name(source), source


def _own_graph(file: Path, blocks: int | None, weights: str | None) -> tuple[str, Path]:
    if weights is not None:
        raise SettingError(f"{file} holds its own weights; leave out --weights.")
    if blocks != 0:
        raise SettingError(f"{file} is an ONNX graph, which is not fitted itself; leave out --open-blocks.")
    return f"{PREFIX}{file.name}", file.resolve()


def own_graph(
    name: str, weights: Path | None, size: int | None, *, mean: str | None, std: str | None, output: str | None
) -> tuple[GraphOptions | None, int | None]:
    """What was typed of a person's own graph and the side that it takes, in pixels; of another backbone, None and
    `size`.

    The graph is tried before anything long begins, and what was assumed of it is said. Raises SettingError for options
    that only such a graph has, GraphError for one that cannot be a backbone.
    """
    if weights is None or not is_own_graph(name):
        typed = {"mean": mean, "std": std, "feature-output": output}
        if option := next((option for option, value in typed.items() if value is not None), None):
            raise SettingError(f"--{option} is for --backbone onnx:FILE; leave it out, or name such a backbone.")
        return None, size
    options = GraphOptions(channels("mean", mean), channels("std", std), output)
    extractor = read_own_graph(weights, options, size)
    if rank() == 0:
        say(f"a backbone of your own, {extractor.feature_size} features: {extractor.origin}")
    return options, extractor.side


def _own_default() -> str:
    """ImageNet features where their package is installed; else the shipped ones, which is said."""
    if packaged_file() is not None:
        return LITE0
    if rank() == 0:
        say(f"the package {PACKAGE} is not installed; the shipped backbone serves, which knows small pictures alone")
    return str(SHIPPED_BUNDLE)


def outlier_sources(typed: Sequence[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """What `--outliers` named, folders and lists as absolute paths; `none` is nothing, and untyped is the default.

    Raises SettingError for `none` beside a source.
    """
    if not typed:
        return default
    if NO_OUTLIERS in typed:
        if len(typed) > 1:
            raise SettingError(f"--outliers {NO_OUTLIERS} stands alone; leave it out to name sources.")
        return ()
    return tuple(source if source == PROCEDURAL else str(Path(source).resolve()) for source in typed)


def decide_by(typed: str | None, default: str) -> str:
    """The statistic that decides, as typed or by default. Raises SettingError for one that cannot be made."""
    return "+".join(part_names(typed or default))


def teacher(typed: Path | None, *, on_features: bool) -> Path | None:
    """The run to learn from. Raises SettingError where only cached features are fitted on, which it cannot look at."""
    if typed is not None and on_features:
        raise SettingError("A teacher looks at pictures; give --open-blocks or --online too, or leave out --teacher.")
    return typed and typed.resolve()


def shares(calibration: float | None, validation: float | None, default: tuple[float, float]) -> tuple[float, float]:
    """Shares held out for the threshold and for choices, as typed or by default."""
    return default[0] if calibration is None else calibration, default[1] if validation is None else validation


def one_cycle(
    given: dict[str, Any], common: dict[str, Any], changes: Iterable[str], heads_of: int | None = None
) -> Recipe:
    """The one-cycle recipe, or that of heads on the features of `heads_of` pictures; `given` are options, None where
    they were not typed.

    Raises SettingError for a setting that only the paper's recipe follows.
    """
    for change in changes:
        if change.partition("=")[0] in PAPER_SETTINGS:
            raise SettingError(f"--setting {change} belongs to --recipe paper; add that, or leave it out.")
    typed = {option: value for option, value in given.items() if value is not None} | common
    return recipes.one_cycle(**typed) if heads_of is None else recipes.heads(heads_of, **typed)


def paper(
    given: dict[str, Any], common: dict[str, Any], pictures: int, settings: Settings, *, on_features: bool
) -> Recipe:
    """The paper's recipe for a number of pictures to fit on, and without mixup where it fits on cached features.

    Raises SettingError for an option of the one-cycle recipe: the paper's numbers are fixed.
    """
    typed = next((option.replace("_", "-") for option, value in given.items() if value is not None), None)
    if typed:
        raise SettingError(f"--{typed} belongs to --recipe one-cycle; leave it out, or leave out --recipe paper.")
    recipe = recipes.paper(pictures, settings, **common)
    return replace(recipe, mixup_alpha=0.0) if on_features else recipe


def sizes(size: int | None, name: str, weights: Path | None, data: DataSet, *, cropped: bool) -> tuple[int, int]:
    """Side of the model's input, and side that pictures are squashed to before the crop to it, in pixels.

    The same unless the recipe crops. Without `size` they are a starting bundle's, or what the backbone of that name
    has for pictures of these sizes; else, for a recipe that crops, BiT-HyperRule's for the data's first picture, and
    32 for one that does not. Raises SettingError for a side that the backbone cannot take.
    """
    if is_own_graph(name):
        assert size is not None, "`own_graph` knows it. This is a bug."
        return size, hyperrule.side_before_crop(size) if cropped else size
    if size is None and weights is not None:
        size = _trained_size(weights)
    if size is None and (size := defaults.side(name, data)) is not None and rank() == 0:
        say(f"input of {size} x {size} pixels, by the pictures' own sizes; --size takes another")
    multiple = defaults.sides_divide_by(name)
    if size is not None and size % multiple:
        raise SettingError(f"{name} takes sides that {multiple} divides; {size} is none, so give another --size.")
    if not cropped:
        return size or SMALL_SIDE, size or SMALL_SIDE
    if size is not None:
        return size, hyperrule.side_before_crop(size)
    loaded, side = hyperrule.resolution(*picture_size(data.root / data.paths[0]))
    return side, loaded


def _trained_size(weights: Path) -> int | None:
    """The side that a bundle or a run was made for; None for weights that do not say."""
    if weights.is_dir():
        return read_bundle(weights).manifest.input.height
    run = weights.with_name(CONFIG_NAME)
    return int(json.loads(run.read_text("utf-8"))["size"]) if run.is_file() else None
