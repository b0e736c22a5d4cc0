"""From what a person typed to the settings of a run: defaults that depend on the data, the weights and the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from service.bundle import read_bundle
from training import hyperrule, recipes
from training.data import DataSet, read_data_set
from training.distributed import rank, wait_for_all
from training.errors import DataError, SettingError, UnknownBackbone
from training.recipes import Recipe
from training.reproduction import Settings
from training.weights import backbone_name, find_weights

SHIPPED_BUNDLE = Path(__file__).parent.parent / "service" / "default_bundle"
SMALL_SIDE = 32


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
    """The backbone's name and the weights to start from; a frozen backbone needs some, the shipped ones by default.

    `weights` is a path or the name of published weights, which one process downloads for all.
    Raises UnknownBackbone where the name is neither given nor told by the weights.
    """
    if weights is None and blocks == 0 and backbone is None:
        weights = str(SHIPPED_BUNDLE)
    if weights is None:
        if backbone is None:
            raise UnknownBackbone("The backbone's name is not known; give --backbone or --weights.")
        return backbone, None
    if rank() == 0:
        find_weights(weights)
    wait_for_all()
    source = find_weights(weights)
    return backbone or backbone_name(source), source


def needs_weights(backbone: str) -> SettingError:
    """What to say where a backbone must be trained already and no weights are named."""
    return SettingError(f"{backbone} has no weights; name them as --weights.")


def recipe(name: str, data: Path, settings: Settings, given: dict[str, Any], common: dict[str, Any]) -> Recipe:
    """A recipe by name. `given` are the options of the one-cycle recipe alone, None where they were not typed.

    Raises SettingError for one of them beside the paper's recipe, whose numbers are the paper's.
    """
    typed = {option: value for option, value in given.items() if value is not None}
    if name == "one-cycle":
        return recipes.one_cycle(**typed, **common)
    if typed:
        option = next(iter(typed)).replace("_", "-")
        raise SettingError(f"--{option} belongs to --recipe one-cycle; leave it out, or leave out --recipe paper.")
    return recipes.paper(len(read_data_set(data)), settings, **common)


def sizes(size: int | None, name: str, data: Path, weights: Path | None) -> tuple[int, int]:
    """Side of the model's input, and side that pictures are squashed to before the crop to it, in pixels.

    The same for the one-cycle recipe, which does not crop. Without `size` they are a starting bundle's, or
    BiT-HyperRule's for the data's first picture, or 32.
    """
    if size is None and weights is not None and weights.is_dir():
        size = read_bundle(weights).manifest.input.height
    if name == "one-cycle":
        return size or SMALL_SIDE, size or SMALL_SIDE
    if size is not None:
        return size, hyperrule.side_before_crop(size)
    loaded, cropped = hyperrule.resolution(*_first_picture(read_data_set(data)))
    return cropped, loaded


def _first_picture(data: DataSet) -> tuple[int, int]:
    file = data.root / data.paths[0]
    try:
        with Image.open(file) as picture:
            return picture.height, picture.width
    except OSError as error:
        raise DataError(f"The picture {file} cannot be read; replace it or remove it.") from error
