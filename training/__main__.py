"""The command line: `python -m training COMMAND`, installed as `mos-guard`.

Commands import what they need when they run, so that `calibrate` works where torch is not installed.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from service.bundle import read_bundle
from service.errors import MosGuardError

SHIPPED_BUNDLE = Path(__file__).parent.parent / "service" / "default_bundle"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class Fitted(StrEnum):
    """What `train` fits."""

    HEADS = "heads"
    NETWORK = "network"


class Augmentation(StrEnum):
    """How pictures are varied while the whole network is fitted."""

    STANDARD = "standard"
    STRONG = "strong"


@app.callback()
def commands() -> None:
    """Make and judge bundles of the mos-guard service."""


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of class folders, of super-class folders, or a list file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run there is resumed.")],
    fit: Annotated[
        Fitted, typer.Option(help="Fit the heads on a frozen backbone, or the whole network.")
    ] = Fitted.HEADS,
    backbone: Annotated[str | None, typer.Option(help="Backbone's name; by default that of --weights.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Bundle or network.pt to start from; by default the shipped bundle for heads.")
    ] = None,
    grouping: Annotated[
        str | None,
        typer.Option(
            help="taxonomy:NAME|FILE.json, folders, clusters:K or random:K; by default folders, else clusters."
        ),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the model's input, in pixels.", min=8)] = 32,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.", min=1)] = 40,
    batch_size: Annotated[int, typer.Option(help="Pictures a step, over all processes.", min=1)] = 128,
    learning_rate: Annotated[float, typer.Option(help="Peak of the one-cycle schedule.")] = 0.12,
    weight_decay: Annotated[float, typer.Option(help="L2 penalty.")] = 5e-4,
    flat_weight: Annotated[float, typer.Option(help="Weight of the flat-softmax loss.", min=0)] = 1.0,
    group_weight: Annotated[float, typer.Option(help="Weight of the group-softmax loss.", min=0)] = 1.0,
    calibration: Annotated[float, typer.Option(help="Share of each class held out for `calibrate`.", min=0)] = 0.1,
    validation: Annotated[float, typer.Option(help="Share of each class held out for choices.", min=0)] = 0.02,
    augmentation: Annotated[
        Augmentation, typer.Option(help="Shift, flip and cut-out, or also warps and colours: for long runs.")
    ] = Augmentation.STANDARD,
    bf16: Annotated[bool, typer.Option(help="Backbone in bfloat16: faster where the CPU multiplies it.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split, the order and the augmentation.", min=0)] = 0,
) -> None:
    """Fit a model on a labelled folder and export its bundle to OUT/bundle."""
    from training.distributed import process_group, rank
    from training.export import export as export_bundle
    from training.fit import Recipe
    from training.run import RunConfig
    from training.train import train as train_network

    start = _start(fit, backbone, weights)
    recipe = Recipe(
        epochs,
        batch_size,
        learning_rate,
        weight_decay,
        flat_weight,
        group_weight,
        augmentation=augmentation.value,
        bf16=bf16,
        seed=seed,
    )
    config = RunConfig(data, out, start[0], start[1], fit.value, grouping, size, calibration, validation, recipe)
    with process_group():
        train_network(config)
        if rank() == 0:
            bundle = export_bundle(out, out / "bundle", name=out.resolve().name)
            _say(f"wrote {bundle.path}; next: calibrate --bundle {bundle.path} --data {out / 'calibration.txt'}")


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; an older bundle there is replaced.")],
    name: Annotated[str, typer.Option(help="Name that verdicts and metrics carry.")],
    version: Annotated[str, typer.Option(help="Version that verdicts and metrics carry.")] = "1",
) -> None:
    """Write the bundle of a finished run, uncalibrated."""
    from training.export import export as export_bundle

    _say(f"wrote {export_bundle(run, out, name=name, version=version).path}")


@app.command()
def calibrate(
    bundle: Annotated[Path, typer.Option(help="The bundle whose threshold is set.")],
    data: Annotated[Path, typer.Option(help="In-distribution pictures that were not trained on: folder or list file.")],
    tpr: Annotated[float, typer.Option(help="Share of in-distribution pictures to keep, at least.")] = 0.95,
    confidence: Annotated[float, typer.Option(help="Confidence that the share is kept.")] = 0.95,
) -> None:
    """Set the threshold with a guarantee on the true-positive rate; runs without torch."""
    from training.calibrate import calibrate as calibrate_bundle

    done = calibrate_bundle(bundle, data, tpr=tpr, confidence=confidence)
    low, high = done.tpr_interval
    _say(f"threshold {done.threshold:.6f}: rank {done.k} of {done.n} scores, from the lowest")
    _say(f"true TPR at least {tpr:.1%} with {confidence:.0%} confidence; between {low:.2%} and {high:.2%}")


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Option(help="The bundle to judge.")],
    id_data: Annotated[Path, typer.Option("--id", help="Labelled in-distribution test set.")],
    ood: Annotated[list[str], typer.Option(help="An OOD set as NAME=FOLDER; repeat for more.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.")],
    detectors: Annotated[str, typer.Option(help="Detectors, comma-separated, or `all`.")] = "all",
    record: Annotated[bool, typer.Option(help="Also write the figures into the bundle's manifest.")] = False,
) -> None:
    """Compare detectors on OOD sets: results.json, scores.npz, tables and pictures."""
    from training import evaluate as evaluation
    from training.detectors import DETECTORS
    from training.errors import DataError

    sets = {name: Path(path) for name, found, path in (entry.partition("=") for entry in ood) if found}
    if len(sets) != len(ood):
        raise DataError("An OOD set is NAME=FOLDER, each with a name of its own; write --ood that way.")
    chosen = list(DETECTORS) if detectors == "all" else detectors.split(",")
    result = evaluation.evaluate(bundle, id_data, sets, chosen)
    evaluation.write_report(result, out)
    if record:
        evaluation.record(read_bundle(bundle), result)
    _say((out / "results.md").read_text("utf-8").rstrip())
    _say(f"top-1: group {result.accuracy['group']:.2%}, flat {result.accuracy['flat']:.2%}")
    for name, share in result.accepted.items():
        _say(f"judged in at the calibrated threshold: {name} {share:.2%}")


@app.command()
def groups(
    taxonomy: Annotated[str | None, typer.Option(help="Built-in taxonomy, such as cifar100.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle whose grouping to show.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the grouping of a built-in taxonomy or of a bundle."""
    from training.errors import GroupingError
    from training.groups import built_in_tree

    if (taxonomy is None) == (bundle is None):
        raise GroupingError("Name what to show: either --taxonomy NAME or --bundle FOLDER.")
    if bundle is not None:
        manifest = read_bundle(bundle).manifest
        tree = {group.name: [manifest.classes[index] for index in group.classes] for group in manifest.groups}
    else:
        tree = built_in_tree(str(taxonomy))
    if as_json:
        print(json.dumps({"groups": [{"name": name, "classes": classes} for name, classes in tree.items()]}, indent=1))
        return
    table = Table("group", "classes", "members")
    for name, classes in tree.items():
        table.add_row(name, str(len(classes)), ", ".join(classes))
    Console().print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the run and the report.")],
    per_class: Annotated[
        int, typer.Option(help="Pictures of each of the 9 classes, in each of train and test.", min=20)
    ] = 120,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.", min=1)] = 15,
    seed: Annotated[int, typer.Option(help="Seed of the pictures and of the run.", min=0)] = 0,
) -> None:
    """Take generated pictures through the whole pipeline: train, export, calibrate, evaluate."""
    from training.demo import write_demo_data

    folders = write_demo_data(out / "data", per_class=per_class, seed=seed)
    train(folders["train"], out, fit=Fitted.NETWORK, backbone="R11-tiny", epochs=epochs, batch_size=32, seed=seed)
    calibrate(out / "bundle", out / "calibration.txt")
    evaluate(out / "bundle", folders["test"], [f"stripes={folders['stripes']}"], out / "report", record=True)
    _say(f"serve it: MOS_BUNDLE={out / 'bundle'} python -m service")


def _start(fit: Fitted, backbone: str | None, weights: Path | None) -> tuple[str, Path | None]:
    """The backbone's name and the weights to start from; frozen backbones need some, the shipped ones by default."""
    if weights is None and fit is Fitted.HEADS and backbone is None:
        weights = SHIPPED_BUNDLE
    if backbone is None and weights is not None and weights.is_dir():
        backbone = read_bundle(weights).manifest.backbone
    if backbone is None:
        from training.errors import UnknownBackbone

        raise UnknownBackbone("The backbone's name is not known; give --backbone, or a bundle as --weights.")
    return backbone, weights


def _say(line: str) -> None:
    from training.progress import say

    say(line)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what went wrong is one sentence on standard error and exit status 1."""
    try:
        app(arguments)
    except MosGuardError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
