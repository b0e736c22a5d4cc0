"""`recalibrate`: what the threshold would become by what was learnt in use, and writing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands import announce, app

if TYPE_CHECKING:
    from service.bundle import LetIn
    from training.bundling.recalibrate import Recalibration

Lines = list[Path] | None


@app.command()
def recalibrate(
    bundle: Annotated[Path, typer.Option(help="The calibrated bundle that the labels are of.")],
    verdicts: Annotated[Lines, typer.Option(help="The service's verdict lines; repeat for more files.")] = None,
    feedback: Annotated[Lines, typer.Option(help="The service's feedback lines; repeat for more files.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled pictures: folders `in` and `out`, or class folders.")
    ] = None,
    tpr: Annotated[
        float | None,
        typer.Option(help="Share of in-distribution pictures to keep, at least.", show_default="the bundle's"),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Confidence that the share is kept.", show_default="the bundle's")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the new threshold into the bundle.")] = False,
) -> None:
    """Say what the threshold would become by labels from use, and what it costs; write it with --write alone.

    Runs without torch. Labels count that are of the bundle's model and threshold and have their verdict lines, as far
    as they represent those lines: labels of rejected pictures alone certify nothing.
    """
    from training.bundling import recalibrate as job

    found = job.recalibrate(bundle, verdicts or [], feedback or [], data, tpr=tpr, confidence=confidence)
    for line in _report(found):
        announce(line)
    if write:
        job.write(found)
        announce(f"wrote the calibration of {bundle}; a service that serves it must load it anew")
    else:
        announce("nothing was written; --write puts it into the bundle")


def _report(found: Recalibration) -> list[str]:
    from training.bundling.promises import guarantee

    before, after = found.before, found.after
    return [
        f"used: {found.pictures} pictures and {found.labels} labels of served pictures",
        *(f"ignored: {count} {why}" for why, count in found.ignored.items() if count),
        f"threshold: {before.threshold:.6g} before, {after.threshold:.6g} after",
        *_groups(found),
        *([f"method: {before.method} before, {after.method} after"] if before.method != after.method else []),
        guarantee(found.bundle.manifest, after),
        f"labelled in, accepted: {_share(found.of_in.before)} before, {_share(found.of_in.after)} after",
        "labelled out: none, so what is let in is not known"
        if found.of_out is None
        else f"labelled out, let in: {_share(found.of_out.before)} before, {_share(found.of_out.after)} after",
        *(f"the card would no longer tell {what}; `mos-guard calibrate` measures it" for what in found.lost),
        *([_SAMPLING] if found.labels else []),
    ]


_SAMPLING = (
    "this is about pictures like those of the verdict lines; it rests on labels that were given without regard to what "
    "a picture shows, among accepted and among rejected ones, and on requests that do not depend on each other"
)


def _groups(found: Recalibration) -> list[str]:
    names = [group.name for group in found.bundle.manifest.groups]
    if not found.before.group_thresholds:
        return []
    pairs = zip(names, found.before.thresholds(names), found.after.thresholds(names), strict=True)
    return [f"  group {name}: {before:.6g} before, {after:.6g} after" for name, before, after in pairs]


def _share(share: LetIn) -> str:
    low, high = share.interval
    return f"{share.share:.2%} of {share.n} [{low:.2%}, {high:.2%}]"
