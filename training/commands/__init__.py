"""The commands of `python -m training`, a file for each kind; every file registers its own on `app`.

Commands import what they need when they run, so that `calibrate` works where torch is not installed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class Source(StrEnum):
    """Whom to follow where the paper, its authors' code and correctness part."""

    PAPER = "paper"
    OFFICIAL = "official"
    CORRECTED = "corrected"


class Scale(StrEnum):
    """At what scale JPEGs far larger than the input are decoded."""

    FULL = "full"
    REDUCED = "reduced"


Follow = Annotated[Source, typer.Option(help="Whom to follow where the paper, its code and correctness part.")]
Setting = Annotated[
    list[str] | None, typer.Option("--setting", help="NAME=paper|official|corrected, for one such place; repeat.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Weights to start from: a file, a bundle, or a published name such as BiT-S-R101x1, which is downloaded; "
        "by default ImageNet's of EfficientNet-Lite0 where the backbone is frozen."
    ),
]
Extractor = Annotated[
    str | None,
    typer.Option(
        help="Backbone's name, by default that of --weights; or onnx:FILE, a feature extractor of your own as an ONNX "
        "graph: pictures in, features out."
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="What onnx:FILE wants subtracted from pixels / 255: one number or three, such as 0.5 or 127/255.",
        show_default="of preprocessor_config.json beside FILE, else ImageNet's",
    ),
]
Std = Annotated[str | None, typer.Option(help="What it wants the rest divided by.", show_default="likewise")]
FeatureOutput = Annotated[
    str | None,
    typer.Option(help="The value of onnx:FILE that holds the features.", show_default="its only output"),
]
Side = Annotated[
    int | None,
    typer.Option(
        help="Side of the model's input, in pixels; by default that of --weights, or by the pictures' own sizes where "
        "the backbone has sides to choose from, or 32."
    ),
]
JpegScale = Annotated[
    Scale,
    typer.Option(
        help="Decode JPEGs that are far larger than the input at 1/2, 1/4 or 1/8 of their size, which is faster; the "
        "bundle keeps to it."
    ),
]
DecideBy = Annotated[
    str | None,
    typer.Option(
        help="What decides: mos, logit, knn, residual, cosine, or several joined by +.",
        show_default="mos+logit+residual+cosine for heads on ImageNet features, else mos; a run's own at export",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn by chance.", min=0)]
Bf16 = Annotated[bool, typer.Option(help="Backbone in bfloat16: faster where the machine multiplies it.")]

GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Pictures of one series stay together: what the first group of this regular expression, or all of it, "
        "matches anywhere in a picture's path (a shop, a camera, a day).",
    ),
]
IntervalWidth = Annotated[
    float,
    typer.Option(help="Width of the true TPR's interval, as a share, to tell how many pictures would give it."),
]
HalfFeatures = Annotated[bool, typer.Option(help="Keep cached features as float16: half the disk, three digits.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that read pictures for each one that fits.", show_default="cores", min=0),
]


@app.callback()
def commands() -> None:
    """Make and judge bundles of the mos-guard service."""


def named(option: str, entries: list[str]) -> dict[str, Path]:
    """NAME=PATH options as a mapping."""
    from training.errors import DataError

    named = {name: Path(path) for name, found, path in (entry.partition("=") for entry in entries) if name and found}
    if len(named) != len(entries):
        raise DataError(f"An option --{option} is NAME=PATH, each with a name of its own; write it that way.")
    return named


def announce(line: str) -> None:
    """Tell the person what was done."""
    from training.progress import say

    say(line)
