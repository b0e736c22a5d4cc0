"""The command line: `python -m training COMMAND`, installed as `mos-guard`.

Commands import what they need when they run, so that `calibrate` works where torch is not installed.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.bundle import read_bundle
from service.errors import MosGuardError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class RecipeName(StrEnum):
    """How `train` fits."""

    ONE_CYCLE = "one-cycle"
    PAPER = "paper"


class Augmentation(StrEnum):
    """How pictures are varied by the one-cycle recipe."""

    NONE = "none"
    FLIP = "flip"
    STANDARD = "standard"
    STRONG = "strong"


class Source(StrEnum):
    """Whom to follow where the paper, its authors' code and correctness part."""

    PAPER = "paper"
    OFFICIAL = "official"
    CORRECTED = "corrected"


Follow = Annotated[Source, typer.Option(help="Whom to follow where the paper, its code and correctness part.")]
Setting = Annotated[
    list[str] | None, typer.Option("--setting", help="NAME=paper|official|corrected, for one such place; repeat.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Weights to start from: a file, a bundle, or a published name such as BiT-S-R101x1, which is downloaded; "
        "by default the shipped bundle where the backbone is frozen."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything drawn by chance.", min=0)]
Bf16 = Annotated[bool, typer.Option(help="Backbone in bfloat16: faster where the machine multiplies it.")]


@app.callback()
def commands() -> None:
    """Make and judge bundles of the mos-guard service."""


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of class folders, of super-class folders, or a list file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run there is resumed.")],
    recipe: Annotated[
        RecipeName, typer.Option(help="One cycle with the numbers below, or the paper's fine-tuning.")
    ] = RecipeName.ONE_CYCLE,
    open_blocks: Annotated[
        str, typer.Option(help="How many of the backbone's last blocks are fitted beside the heads: 0 to 4, or all.")
    ] = "0",
    online: Annotated[
        bool, typer.Option(help="Run a frozen backbone anew at each step: exact under augmentation, and slow.")
    ] = False,
    backbone: Annotated[str | None, typer.Option(help="Backbone's name; by default that of --weights.")] = None,
    weights: Weights = None,
    grouping: Annotated[
        str | None,
        typer.Option(help="taxonomy:NAME|FILE, folders, clusters:K or random:K; by default folders, else clusters."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the model's input, in pixels; by default that of --weights, or 32.")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="Folder of the feature cache; by default OUT/features.")] = None,
    views: Annotated[int, typer.Option(help="Views of each picture in the feature cache.", min=1)] = 2,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures.", show_default="40", min=1)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures a step, over all processes.", show_default="128", min=1)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak of the one-cycle schedule.", show_default="0.12")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="L2 penalty.", show_default="0.0005")] = None,
    augmentation: Annotated[
        Augmentation | None,
        typer.Option(help="standard shifts, mirrors and cuts out; strong also warps.", show_default="standard"),
    ] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Pictures a forward pass; a batch is accumulated from such parts.", min=1)
    ] = None,
    flat_weight: Annotated[float, typer.Option(help="Weight of the flat-softmax loss.", min=0)] = 1.0,
    group_weight: Annotated[float, typer.Option(help="Weight of the group-softmax loss.", min=0)] = 1.0,
    calibration: Annotated[float, typer.Option(help="Share of each class held out for `calibrate`.", min=0)] = 0.1,
    validation: Annotated[float, typer.Option(help="Share of each class held out for choices.", min=0)] = 0.02,
    follow: Follow = Source.CORRECTED,
    setting: Setting = None,
    bf16: Bf16 = False,
    seed: Seed = 0,
) -> None:
    """Fit a model on a labelled folder and export its bundle to OUT/bundle."""
    from training import options, reproduction
    from training.distributed import process_group, rank
    from training.export import export as export_bundle
    from training.run import RunConfig
    from training.train import train as train_network

    settings = reproduction.settings(follow.value, setting or ())
    blocks = options.open_blocks(open_blocks)
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "augmentation": augmentation and augmentation.value,
    }
    common = {
        "flat_weight": flat_weight,
        "group_weight": group_weight,
        "micro_batch": micro_batch,
        "bf16": bf16,
        "seed": seed,
    }
    with process_group():
        name, start = options.starting_point(blocks, backbone, weights)
        side, load_side = options.sizes(size, recipe.value, data, start)
        config = RunConfig(
            data=data,
            out=out,
            backbone=name,
            weights=start,
            open_blocks=blocks,
            online=online,
            grouping=grouping,
            size=side,
            load_size=load_side,
            features=features,
            views=views,
            calibration=calibration,
            validation=validation,
            recipe=options.recipe(recipe.value, data, settings, given, common),
            settings=settings,
        )
        train_network(config)
        if rank() == 0:
            bundle = export_bundle(out, out / "bundle", name=out.resolve().name)
            _say(f"wrote {bundle.path}; next: calibrate --bundle {bundle.path} --data {out / 'calibration.txt'}")


@app.command()
def features(
    data: Annotated[Path, typer.Option(help="Folder of class folders, of super-class folders, or a list file.")],
    out: Annotated[Path, typer.Option(help="Folder of the cache; an interrupted one there is continued.")],
    weights: Weights = None,
    backbone: Annotated[str | None, typer.Option(help="Backbone's name; by default that of --weights.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the model's input, in pixels; by default that of --weights, or 32.")
    ] = None,
    views: Annotated[int, typer.Option(help="Views: as served, mirrored, and augmented from the third on.", min=1)] = 2,
    augmentation: Annotated[Augmentation, typer.Option(help="Of the third view on.")] = Augmentation.STANDARD,
    bf16: Bf16 = False,
    seed: Seed = 0,
) -> None:
    """Extract the features of a data set once, for `train --features OUT` and `ablate`."""
    from training import options
    from training.backbone import backbone as build
    from training.data import read_data_set
    from training.distributed import process_group, rank
    from training.features import cached_features
    from training.weights import read_backbone

    with process_group():
        name, start = options.starting_point(0, backbone, weights)
        if start is None:
            raise options.needs_weights(name)
        extractor = build(name)
        read_backbone(start, extractor)
        found = cached_features(
            out,
            extractor,
            read_data_set(data),
            options.sizes(size, "one-cycle", data, start)[0],
            augmentation=augmentation.value,
            views=views,
            seed=seed,
            bf16=bf16,
        )
        if rank() == 0:
            _say(f"wrote {out}: {found.shape[0]} views of {found.shape[1]} pictures, {found.shape[2]} features each")


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; an older bundle there is replaced.")],
    name: Annotated[str, typer.Option(help="Name that verdicts and metrics carry.")],
    version: Annotated[str, typer.Option(help="Version that verdicts and metrics carry.")] = "1",
    statistics: Annotated[
        bool, typer.Option(help="Fit every detector on the run's pictures, for `evaluate --detectors all`.")
    ] = True,
    setting: Setting = None,
) -> None:
    """Write the bundle of a finished run, uncalibrated."""
    from training.export import export as export_bundle

    done = export_bundle(run, out, name=name, version=version, statistics=statistics, changes=setting or ())
    _say(f"wrote {done.path}")


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
    audit: Annotated[
        list[str] | None, typer.Option(help="An audit of an OOD set's pictures as NAME=FILE.csv; repeat for more.")
    ] = None,
    fit: Annotated[
        Path | None, typer.Option(help="Labelled pictures for `--setting mahalanobis=paper` or `official`.")
    ] = None,
    record: Annotated[bool, typer.Option(help="Also write the figures into the bundle's manifest.")] = False,
    follow: Follow = Source.CORRECTED,
    setting: Setting = None,
    seed: Seed = 0,
) -> None:
    """Compare detectors on OOD sets: results.json, scores.npz, tables and pictures."""
    from training import evaluate as evaluation
    from training import report, reproduction
    from training.detectors import DETECTORS

    result = evaluation.evaluate(
        bundle,
        id_data,
        _named("ood", ood),
        list(DETECTORS) if detectors == "all" else detectors.split(","),
        audits=_named("audit", audit or []),
        settings=reproduction.settings(follow.value, setting or ()),
        fit_on=fit,
        seed=seed,
    )
    report.write(result, out)
    if record:
        evaluation.record(read_bundle(bundle), result)
    _say((out / "results.md").read_text("utf-8").rstrip())
    _say(f"top-1: group {result.accuracy['group']:.2%}, flat {result.accuracy['flat']:.2%}")
    for name, share in result.accepted.items():
        _say(f"judged in at the calibrated threshold: {name} {share:.2%}")


@app.command()
def ablate(
    study: Annotated[str, typer.Argument(help="classes, classes-fixed-total, grouping, groups, backbones or blocks.")],
    data: Annotated[Path, typer.Option(help="Labelled pictures to fit on.")],
    id_data: Annotated[Path, typer.Option("--id", help="Labelled in-distribution test set.")],
    ood: Annotated[list[str], typer.Option(help="An OOD set as NAME=FOLDER; repeat for more.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; an interrupted one there goes on.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Backbone's weights, by default the shipped bundle; repeat for the study of backbones."),
    ] = None,
    grouping: Annotated[
        str | None, typer.Option(help="taxonomy:NAME|FILE or folders; by default super-class folders.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the model's input, in pixels; by default that of --weights, or 32.")
    ] = None,
    values: Annotated[str, typer.Option(help="Numbers of classes, groups or blocks, comma-separated.")] = "",
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the pictures: 20 on features, 2 of the study of blocks.", min=1)
    ] = None,
    repeats: Annotated[int, typer.Option(help="Repeats, each with the next seed.", min=1)] = 1,
    bf16: Bf16 = False,
    seed: Seed = 0,
) -> None:
    """Run one of the paper's studies on your data: a table and a picture."""
    from training import options
    from training.ablate import Sweep
    from training.ablate import ablate as run_study
    from training.weights import find_weights

    found = tuple(find_weights(source) for source in weights or [str(options.SHIPPED_BUNDLE)])
    run_study(
        Sweep(
            study,
            data,
            id_data,
            _named("ood", ood),
            found,
            grouping,
            options.sizes(size, "one-cycle", data, found[0])[0],
            out,
            options.numbers(values),
            epochs,
            repeats,
            bf16,
            seed,
        )
    )
    _say((out / "results.md").read_text("utf-8").rstrip())


@app.command()
def groups(
    taxonomy: Annotated[str | None, typer.Option(help="Built-in taxonomy, such as imagenet1k, or a file.")] = None,
    level: Annotated[int, typer.Option(help="Level of a built-in taxonomy; higher is finer.")] = 0,
    bundle: Annotated[Path | None, typer.Option(help="A bundle whose grouping to show.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A data set: its super-class folders, or clusters as many as recommended.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    seed: Seed = 0,
) -> None:
    """Show a grouping, warn of groups that will not learn, and recommend how many where there is no taxonomy."""
    from training.describe import describe
    from training.options import SHIPPED_BUNDLE
    from training.taxonomy import as_json as json_of
    from training.taxonomy import as_table

    shown = describe(taxonomy, level, bundle, data, extractor=SHIPPED_BUNDLE, seed=seed)
    if as_json:
        print(json_of(shown.tree))
    else:
        Console().print(as_table(shown.tree, shown.names))
    for remark in shown.remarks:
        _say(remark)


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
    from training.demo import write_demo_data

    folders = write_demo_data(out / "data", per_class=per_class, seed=seed)
    train(folders["train"], out, open_blocks="all", backbone="R11-tiny", epochs=epochs, batch_size=32, seed=seed)
    calibrate(out / "bundle", out / "calibration.txt")
    evaluate(out / "bundle", folders["test"], [f"stripes={folders['stripes']}"], out / "report", record=True)
    _say(f"serve it: MOS_BUNDLE={out / 'bundle'} python -m service")


def _named(option: str, entries: list[str]) -> dict[str, Path]:
    """NAME=PATH options as a mapping."""
    from training.errors import DataError

    named = {name: Path(path) for name, found, path in (entry.partition("=") for entry in entries) if found}
    if len(named) != len(entries):
        raise DataError(f"An option --{option} is NAME=PATH, each with a name of its own; write it that way.")
    return named


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
