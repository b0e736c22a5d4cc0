"""`export` and `calibrate`: from weights to a bundle that can be served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from training.bundling.methods import Method
from training.commands import DecideBy, GroupBy, IntervalWidth, Setting, announce, app, named
from training.errors import SettingError


@app.command()
def export(
    run: Annotated[Path | None, typer.Option(help="Folder of a finished run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle; an older bundle there is replaced.")] = None,
    name: Annotated[str | None, typer.Option(help="Name that verdicts and metrics carry.")] = None,
    version: Annotated[str, typer.Option(help="Version that verdicts and metrics carry.")] = "1",
    statistics: Annotated[
        bool, typer.Option(help="Fit every detector on the run's pictures, for `evaluate --detectors all`.")
    ] = True,
    decide_by: DecideBy = None,
    precision: Annotated[
        Literal["float32", "float16"],
        typer.Option(help="Of the convolutions; float16 is for GPUs, as a bundle of its own with its own calibration."),
    ] = "float32",
    setting: Setting = None,
    authors_checkpoint: Annotated[
        Path | None,
        typer.Option(help="In place of --run: the MOS authors' fine-tuned ImageNet checkpoint, .pth.tar."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="With it: side of the model's input, in pixels.", show_default="480", min=1)
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="For --triton: a bundle that is there already, in place of --run.")
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write the model's entry into this Triton model repository."),
    ] = None,
) -> None:
    """Write the bundle of a finished run, uncalibrated; or a bundle's entry of a Triton model repository."""
    from service.bundle import read_bundle

    if size is not None and authors_checkpoint is None:
        raise SettingError("--size is for --authors-checkpoint; a run and a bundle have their own.")
    if authors_checkpoint is not None and (decide_by is not None or setting):
        raise SettingError("Nothing is fitted for --authors-checkpoint; leave out --decide-by and --setting.")
    if bundle is not None and triton is not None and run is None:
        done = read_bundle(bundle)
    elif run is not None and out is not None and name is not None and bundle is None:
        from training.bundling.export import export as export_bundle

        done = export_bundle(
            run,
            out,
            name=name,
            version=version,
            statistics=statistics,
            changes=setting or (),
            decide_by=decide_by,
            precision=precision,
        )
        announce(f"wrote {done.path}")
    elif authors_checkpoint is not None and out is not None and name is not None and run is None and bundle is None:
        from training.bundling.authors import SIDE, export_authors

        side = size or SIDE
        done = export_authors(authors_checkpoint, out, name=name, version=version, side=side, precision=precision)
        announce(f"wrote {done.path}; calibrate it on ImageNet's validation pictures")
    else:
        raise SettingError(
            "Name --run, --out and --name to export a run, --authors-checkpoint in place of --run for theirs, or "
            "--bundle and --triton for a bundle."
        )
    if triton is not None:
        from training.bundling.triton import write_triton_entry

        announce(f"wrote {write_triton_entry(done, triton)}")


@app.command()
def calibrate(
    bundle: Annotated[Path, typer.Option(help="The bundle whose threshold is set.")],
    data: Annotated[Path, typer.Option(help="In-distribution pictures that were not trained on: folder or list file.")],
    tpr: Annotated[float, typer.Option(help="Share of in-distribution pictures to keep, at least.")] = 0.95,
    confidence: Annotated[float, typer.Option(help="Confidence that the share is kept, and of intervals.")] = 0.95,
    method: Annotated[
        Method,
        typer.Option(
            help="certified keeps the TPR with the confidence, conformal on average; quantile promises nothing."
        ),
    ] = Method.CERTIFIED,
    per_group: Annotated[
        bool, typer.Option("--per-group", help="A threshold for each predicted group that has pictures enough.")
    ] = False,
    interval_width: IntervalWidth = 0.01,
    strangers: Annotated[
        list[str] | None,
        typer.Option(help="Foreign pictures, as NAME=FOLDER, to tell how many get in; repeat for more."),
    ] = None,
    group_by: GroupBy = None,
) -> None:
    """Set the threshold with a guarantee on the true-positive rate; runs without torch."""
    from service.bundle import read_bundle
    from training.bundling.calibrate import calibrate as calibrate_bundle
    from training.bundling.promises import guarantee
    from training.commands.operating_table import show

    done = calibrate_bundle(
        bundle,
        data,
        tpr=tpr,
        confidence=confidence,
        method=method,
        per_group=per_group,
        interval_width=interval_width,
        strangers=named("strangers", strangers or []),
        group_by=group_by,
    )
    manifest = read_bundle(bundle).manifest
    announce(f"{done.method}: {guarantee(manifest, done)}")
    show(manifest, done, interval_width)
