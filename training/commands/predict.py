"""`predict`: verdicts on pictures, from a running service or from a bundle in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from training.commands import app
from training.errors import DataError, SettingError

BATCH_SIZE = 32
ALL_IN, FAILED, SOME_OUT = 0, 1, 3
COLUMNS = {"decision": 8, "label": 24, "probability": 11, "score": 10, "threshold": 10, "p_value": 8}

# What became of each picture of a batch: the fields of its verdict, or a sentence.
Judge = Callable[[Sequence[bytes]], list[dict[str, Any] | str]]


class Picture(NamedTuple):
    """A picture by what it was called; `content` is a sentence where it cannot be read."""

    path: str
    content: bytes | str


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
    with _from_service(url, api_key) if url else _from_bundle(bundle) as judge:
        for number, (path, outcome) in enumerate(_outcomes(_read(pictures), judge)):
            say(number, path, outcome)
            status = _worse(status, outcome)
    raise typer.Exit(status)


def _worse(status: int, outcome: dict[str, Any] | str) -> int:
    """Return the exit status after one more picture: a failure outweighs what is out."""
    if isinstance(outcome, str) or status == FAILED:
        return FAILED
    return status if outcome["decision"] == "in" else SOME_OUT


def _read(names: Iterable[str]) -> Iterator[Picture]:
    """The pictures that were named, in order, a folder's by their names; raises DataError for an empty folder."""
    from training.data.pixels import encoded
    from training.data.sets import read_pictures

    for name in names:
        if name == "-":
            yield Picture(name, sys.stdin.buffer.read())
        elif Path(name).is_dir():
            data = read_pictures(Path(name))
            yield from (_read_file(data.root / path, encoded) for path in data.paths)
        else:
            yield _read_file(Path(name), encoded)


def _read_file(file: Path, read: Callable[[Path], bytes]) -> Picture:
    try:
        return Picture(str(file), read(file))
    except OSError as error:
        return Picture(str(file), f"The file cannot be read ({error.strerror or error}).")


def _outcomes(pictures: Iterable[Picture], judge: Judge) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Each picture's path and what became of it, in order; no more pictures are held than one batch."""
    coming = iter(pictures)
    while batch := list(islice(coming, BATCH_SIZE)):
        judged = iter(judge([picture.content for picture in batch if isinstance(picture.content, bytes)]))
        for picture in batch:
            yield picture.path, picture.content if isinstance(picture.content, str) else next(judged)


@contextmanager
def _from_service(url: str, api_key: str | None) -> Iterator[Judge]:
    try:
        from service.client import Client, Verdict
    except ModuleNotFoundError as error:
        raise DataError("--url needs httpx; install the extra `client`: pip install 'mos-guard[client]'.") from error

    with Client(url, api_key=api_key) as client:
        yield lambda pictures: [
            asdict(outcome) if isinstance(outcome, Verdict) else outcome.detail
            for outcome in client.predict_batch(pictures)
        ]


@contextmanager
def _from_bundle(path: Path | None) -> Iterator[Judge]:
    from service.bundle import read_bundle
    from service.verdict import Verdict
    from training.scoring.judging import local_judge
    from training.weights.shipped import SHIPPED_BUNDLE

    bundle = read_bundle(path or SHIPPED_BUNDLE)
    judge = local_judge(bundle)
    model = {"model": bundle.manifest.name, "version": bundle.manifest.version}

    def fields(verdict: Verdict) -> dict[str, Any]:
        top = [{"label": label, "probability": probability} for label, probability in verdict.top]
        return asdict(verdict) | {"top": top} | model

    yield lambda pictures: [
        fields(outcome) if isinstance(outcome, Verdict) else str(outcome) for outcome in judge(pictures)
    ]


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
