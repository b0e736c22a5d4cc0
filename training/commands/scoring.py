"""`score`: millions of pictures to Parquet, on this machine or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands import announce, app
from training.commands.predict import ALL_IN, FAILED, SOME_OUT
from training.errors import SettingError

if TYPE_CHECKING:
    from training.bulk.run import Summary, Workers

PART_SIZE = 10_000
WORKER_CORES = 4


@app.command()
def score(
    data: Annotated[
        Path,
        typer.Option(
            help="Pictures: a folder, a list file (a path a line), Parquet of paths or bytes (a file or a folder of "
            "them), or tar shards (one or a folder of them)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results; an interrupted run there goes on.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle to judge with.", show_default="the shipped one")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="Parquet's column of pictures or paths.", show_default="the only one that can be meant"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Parquet's column of what identifies a picture, the results' `path`.",
            show_default="the path, or a column such as `key` or `id`, or else file and row",
        ),
    ] = None,
    part_size: Annotated[
        int,
        typer.Option(help="Pictures in a part, which is what is lost when a run ends early; a shard is one.", min=1),
    ] = PART_SIZE,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Score on this Ray cluster: HOST:PORT, `auto` for the one that this machine is in, or `local` for "
            "workers here; all its machines must see the pictures, the bundle and OUT under the same names.",
        ),
    ] = None,
    worker_cores: Annotated[
        int, typer.Option(help="With --ray, cores of each worker where no machine has a GPU.", min=1)
    ] = WORKER_CORES,
) -> None:
    """Judge millions of pictures into Parquet: OUT/verdicts, and OUT/errors for those that cannot be judged.

    Exit status: 0 all are in, 3 some are out, 1 one or more could not be judged, or the run did not come to its end.
    """
    try:
        from training.bulk.run import score as run
    except ModuleNotFoundError as error:
        raise SettingError("Parquet needs pyarrow; install the extra `bulk`: pip install 'mos-guard[bulk]'.") from error
    from training.weights.shipped import SHIPPED_BUNDLE

    workers = _on_ray(ray, worker_cores) if ray else None
    summary = run(bundle or SHIPPED_BUNDLE, data, out, part_size=part_size, column=column, key=key, workers=workers)
    _tell(summary, out)
    raise typer.Exit(FAILED if summary.errors else SOME_OUT if summary.rejected else ALL_IN)


def _on_ray(address: str, cores: int) -> Workers:
    try:
        from training.bulk.cluster import on_ray
    except ModuleNotFoundError as error:
        raise SettingError("--ray needs Ray; install the extra `ray`: pip install 'mos-guard[ray]'.") from error
    return on_ray(address, cores)


def _tell(summary: Summary, out: Path) -> None:
    speed = "" if summary.pictures_a_second is None else f"; {summary.pictures_a_second:,.1f} pictures a second"
    announce(
        f"{summary.pictures:,} pictures: {summary.accepted:,} in, {summary.rejected:,} out, "
        f"{summary.errors:,} could not be judged{speed}"
    )
    announce(f"verdicts are in {out / 'verdicts'}" + (f", errors in {out / 'errors'}" if summary.errors else ""))
