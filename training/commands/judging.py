"""`evaluate`, `ablate` and `groups`: how good it is, and what it rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.bundle import read_bundle
from training.commands import Bf16, Follow, Seed, Setting, Source, announce, app, named


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
    from training import reproduction
    from training.detectors import DETECTORS
    from training.evaluation import evaluate as evaluation
    from training.evaluation import record as recording
    from training.evaluation import report

    with report.scratch_folder(out) as scratch:
        result = evaluation.evaluate(
            bundle,
            id_data,
            named("ood", ood),
            list(DETECTORS) if detectors == "all" else detectors.split(","),
            scratch=scratch,
            audits=named("audit", audit or []),
            settings=reproduction.settings(follow.value, setting or ()),
            fit_on=fit,
            seed=seed,
        )
        report.write(result, out)
    if record:
        recording.record(read_bundle(bundle), result)
    announce((out / "results.md").read_text("utf-8").rstrip())
    announce(f"top-1: group {result.accuracy['group']:.2%}, flat {result.accuracy['flat']:.2%}")
    for name, share in result.accepted.items():
        announce(f"judged in at the calibrated threshold: {name} {share:.2%}")


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
    features: Annotated[
        Path | None, typer.Option(help="Folder of feature caches that studies may share; by default OUT/features.")
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
    from training.commands import options
    from training.data.sets import read_data_set
    from training.studies.ablate import Sweep
    from training.studies.ablate import ablate as run_study
    from training.weights.reading import backbone_name, find_weights
    from training.weights.shipped import SHIPPED_BUNDLE

    sources = tuple(find_weights(source) for source in weights or [str(SHIPPED_BUNDLE)])
    run_study(
        Sweep(
            study,
            data,
            id_data,
            named("ood", ood),
            sources,
            grouping,
            options.sizes(size, backbone_name(sources[0]), sources[0], read_data_set(data), cropped=False)[0],
            out,
            features,
            options.numbers(values),
            epochs,
            repeats,
            bf16,
            seed,
        )
    )
    announce((out / "results.md").read_text("utf-8").rstrip())


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
    from training.commands.description import describe
    from training.grouping.taxonomy import as_json as json_of
    from training.grouping.taxonomy import as_table
    from training.weights.shipped import SHIPPED_BUNDLE

    description = describe(taxonomy, level, bundle, data, extractor=SHIPPED_BUNDLE, seed=seed)
    if as_json:
        print(json_of(description.tree))
    else:
        Console().print(as_table(description.tree, description.names))
    for remark in description.remarks:
        announce(remark)
