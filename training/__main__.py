"""The command line: `python -m training COMMAND`, installed as `mos-guard`.

Commands import what they need when they run, so that `calibrate` works where torch is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from service.errors import MosGuardError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.splitlines()[0])


@app.callback()
def _commands() -> None:
    """Make and judge bundles of the mos-guard service."""


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of class folders, of super-class folders, or a list file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run there is resumed.")],
    fit: Annotated[str, typer.Option(help="What is fitted: `heads` on a frozen backbone, or the whole `network`.")] = "heads",
    backbone: Annotated[Optional[str], typer.Option(help="Backbone's name; the shipped one by default.")] = None,
    weights: Annotated[Optional[Path], typer.Option(help="A bundle or a run's network.pt to start from.")] = None,
    grouping: Annotated[Optional[str], typer.Option(help="taxonomy:NAME, taxonomy:FILE.json, folders, clusters:K, random:K.")] = None,
    size: Annotated[int, typer.Option(help="Side of the model's input, in pixels.")] = 32,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.")] = 30,
    batch_size: Annotated[int, typer.Option(help="Pictures a step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = 0.12,
    weight_decay: Annotated[float, typer.Option(help="L2 penalty.")] = 5e-4,
    flat_weight: Annotated[float, typer.Option(help="Weight of the flat softmax loss.")] = 1.0,
    group_weight: Annotated[float, typer.Option(help="Weight of the group softmax loss.")] = 1.0,
    calibration: Annotated[float, typer.Option(help="Share of each class held out for the threshold.")] = 0.1,
    validation: Annotated[float, typer.Option(help="Share of each class held out for choices.")] = 0.02,
    bf16: Annotated[bool, typer.Option(help="Compute the backbone in bfloat16; 3 to 5 times as fast where the CPU has it.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split, the order and the augmentation.")] = 0,
) -> None:
    """Fit a model on a labelled folder."""
    from training.distributed import process_group
    from training.fit import Recipe
    from training.train import TrainConfig, train as run

    recipe = Recipe(epochs, batch_size, learning_rate, weight_decay, flat_weight, group_weight, bf16=bf16, seed=seed)
    with process_group():
        run(TrainConfig(data, out, backbone or "R26-s2", weights, fit, grouping, size, calibration, validation, recipe))


def main() -> None:
    """Run a command; what went wrong is one sentence on standard error and exit status 1."""
    try:
        app()
    except MosGuardError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
