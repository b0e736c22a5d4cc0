"""In what range a graph takes its pixels: as typed, as the file beside it says, or ImageNet's, said aloud."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from training.errors import GraphError, SettingError

Channels = tuple[float, float, float]  # red, green, blue

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
BESIDE = "preprocessor_config.json"
"""What Hugging Face's exporters write beside a graph, with `image_mean` and `image_std`."""


@dataclass(frozen=True)
class Normalisation:
    """A pixel p in [0, 255] becomes (p / 255 - mean) / std."""

    mean: Channels
    std: Channels
    source: str  # whose numbers these are

    def __str__(self) -> str:
        return f"pixels / 255 less {_text(self.mean)}, divided by {_text(self.std)} ({self.source})"


def channels(option: str, text: str | None) -> Channels | None:
    """One number, or three with commas between them, each perhaps a fraction such as 127/255; None as it is.

    Raises SettingError.
    """
    if text is None:
        return None
    try:
        numbers = [float(Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise SettingError(f"--{option} is {text!r}; write one number, or three with commas between them.")
    if max(numbers) > 1 or min(numbers) < 0 or (option == "std" and min(numbers) == 0):
        as_share = f"{text.split(',')[0].strip()}/255"
        raise SettingError(f"--{option} is {text!r}; write shares of 255 as torchvision does, such as {as_share}.")
    red, green, blue = numbers
    return red, green, blue


def normalisation(mean: Channels | None, std: Channels | None, graph: Path) -> Normalisation:
    """What was typed, both or neither; else what lies beside the graph, else ImageNet's.

    Raises SettingError for one of the two alone.
    """
    if (mean is None) != (std is None):
        raise SettingError("--mean and --std go together; give both, or neither.")
    if mean is not None and std is not None:
        return Normalisation(mean, std, "as typed")
    return _beside(graph) or Normalisation(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, assumed")


def _beside(graph: Path) -> Normalisation | None:
    file = graph.with_name(BESIDE)
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text("utf-8"))
        if not said.get("do_normalize", True) or abs(said.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-6:
            raise ValueError("another kind of preprocessing")
        (r, g, b), (dr, dg, db) = said["image_mean"], said["image_std"]
        return Normalisation((float(r), float(g), float(b)), (float(dr), float(dg), float(db)), f"of {BESIDE}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraphError(f"{BESIDE} beside it tells no mean and deviation; give --mean and --std.") from error


def _text(values: Channels) -> str:
    return ", ".join(f"{value:.4g}" for value in (values[:1] if len(set(values)) == 1 else values))
