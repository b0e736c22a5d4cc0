"""`demo`: generated pictures through the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands import Seed, announce, app
from training.commands.bundles import calibrate
from training.commands.fitting import train
from training.commands.judging import evaluate


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the run and the report.")],
    per_class: Annotated[
        int, typer.Option(help="Pictures of each of the 9 classes, in each of train and test.", min=20)
    ] = 120,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.", min=1)] = 15,
    seed: Seed = 0,
) -> None:
    """Take generated pictures through the whole pipeline: train, export, calibrate, evaluate."""
    from training.data.demo import write_demo_data

    folders = write_demo_data(out / "data", per_class=per_class, seed=seed)
    train(folders["train"], out, open_blocks="all", backbone="R11-tiny", epochs=epochs, batch_size=32, seed=seed)
    strangers = [f"stripes={folders['stripes']}"]
    calibrate(out / "bundle", out / "calibration.txt", strangers=strangers)
    evaluate(out / "bundle", folders["test"], strangers, out / "report", record=True)
    announce(f"serve it: MOS_BUNDLE={out / 'bundle'} python -m service")
