"""`predict`: verdicts on pictures, from a running service or from a bundle in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.commands import app
from training.errors import DataError, SettingError

if TYPE_CHECKING:
    from training.scoring.judging import Picture

# Few, so that some pictures already keep every core busy and the first are told soon.
BATCH_SIZE = 8
SENT_TOGETHER = 32
ALL_IN, FAILED, SOME_OUT = 0, 1, 3
COLUMNS = {"decision": 8, "label": 24, "probability": 11, "score": 10, "threshold": 10, "p_value": 8}

# What became of each picture, in order: its path, and the fields of its verdict or a sentence.
Outcomes = Iterator[tuple[str, dict[str, Any] | str]]


@app.command()
def predict(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="FILE|DIR|-...", help="Pictures, folders of them, or - for one on standard input."),
    ],
    url: Annotated[str | None, typer.Option(help="A running service, such as http://127.0.0.1:8000.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle to judge with in this process.", show_default="the shipped one")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="MOS_API_KEY", help="One of the service's keys.", show_envvar=True)
    ] = None,
) -> None:
    """Judge pictures: a table on a terminal, a JSON line for each elsewhere.

    Exit status: 0 all are in, 3 some are out, 1 one or more could not be judged.
    """
    if url is not None and bundle is not None:
        raise SettingError("--url and --bundle are two ways to the same; name one of them.")
    say = _row if sys.stdout.isatty() else _line
    status = ALL_IN
    outcomes = _from_service(url, api_key, pictures) if url else _from_bundle(bundle, pictures)
    for number, (path, outcome) in enumerate(outcomes):
        say(number, path, outcome)
        status = _worse(status, outcome)
    raise typer.Exit(status)


def _worse(status: int, outcome: dict[str, Any] | str) -> int:
    """Return the exit status after one more picture: a failure outweighs what is out."""
    if isinstance(outcome, str) or status == FAILED:
        return FAILED
    return status if outcome["decision"] == "in" else SOME_OUT


def _named(names: Iterable[str]) -> Iterator[Picture]:
    """The pictures that were named, in order, a folder's by their names; raises DataError for an empty folder."""
    from training.data.sets import read_pictures
    from training.scoring.judging import Picture

    for name in names:
        if name == "-":
            yield Picture(name, sys.stdin.buffer.read())
        elif Path(name).is_dir():
            data = read_pictures(Path(name))
            yield from (Picture(str(data.root / path), data.root / path) for path in data.paths)
        else:
            yield Picture(name, Path(name))


def _from_service(url: str, api_key: str | None, names: Iterable[str]) -> Outcomes:
    try:
        from service.client import Client, Verdict
    except ModuleNotFoundError as error:
        raise DataError("--url needs httpx; install the extra `client`: pip install 'mos-guard[client]'.") from error
    from training.scoring.faults import fault_of
    from training.scoring.judging import read_content

    coming = _named(names)
    with Client(url, api_key=api_key) as client:
        while batch := list(islice(coming, SENT_TOGETHER)):
            contents = [read_content(picture) for picture in batch]
            answers = iter(client.predict_batch([content for content in contents if isinstance(content, bytes)]))
            for picture, content in zip(batch, contents, strict=True):
                outcome = next(answers) if isinstance(content, bytes) else fault_of(content)
                yield picture.path, asdict(outcome) if isinstance(outcome, Verdict) else outcome.detail


def _from_bundle(path: Path | None, names: Iterable[str]) -> Outcomes:
    from service.bundle import read_bundle
    from service.verdict import Verdict
    from training.scoring.faults import fault_of
    from training.scoring.judging import LocalJudge
    from training.weights.shipped import SHIPPED_BUNDLE

    bundle = read_bundle(path or SHIPPED_BUNDLE)
    model = {"model": bundle.manifest.name, "version": bundle.manifest.version}
    for picture, outcome in LocalJudge(bundle).judge(_named(names), batch_size=BATCH_SIZE):
        if isinstance(outcome, Verdict):
            top = [{"label": label, "probability": probability} for label, probability in outcome.top]
            yield picture.path, asdict(outcome) | {"top": top} | model
        else:
            yield picture.path, fault_of(outcome).detail


def _line(number: int, path: str, outcome: dict[str, Any] | str) -> None:
    print(json.dumps({"path": path} | ({"error": outcome} if isinstance(outcome, str) else outcome)), flush=True)


def _row(number: int, path: str, outcome: dict[str, Any] | str) -> None:
    if number == 0:
        print("  ".join(f"{name:<{width}}" for name, width in COLUMNS.items()), "path", sep="  ")
    if isinstance(outcome, str):
        print(f"{'error':<8}  {outcome}  {path}")
        return
    cells = ((outcome[name], width) for name, width in COLUMNS.items())
    print("  ".join(_cell(value, width) for value, width in cells), path, sep="  ")


def _cell(value: str | float, width: int) -> str:
    text = value if isinstance(value, str) else f"{value:.4f}"
    return f"{text[:width]:<{width}}"
