"""The tables of a calibration, for a person: drawn on a terminal, a line a row elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.bundle import Calibration, Manifest
from training.bundling.card import HOW_TO_CHOOSE, NO_STRANGERS, siblings_of, siblings_sentence, table
from training.bundling.promises import CHOSEN, EACH_BY_ITSELF, Row, groups_table, methods_table, width_sentence


def show(manifest: Manifest, calibration: Calibration, interval_width: float) -> None:
    """Print every operating point, what is known of unseen siblings and how to choose another, then what the methods
    and the groups promise.
    """
    console = Console(highlight=False, soft_wrap=True)
    siblings = siblings_of(manifest)
    sentences = [siblings_sentence(siblings)] if siblings else []
    sentences += [] if calibration.strangers else [NO_STRANGERS]
    _print(console, table(manifest, calibration), [*sentences, HOW_TO_CHOOSE])
    _print(console, methods_table(calibration), [width_sentence(calibration, interval_width)])
    if groups := groups_table(manifest, calibration):
        _print(console, groups, [EACH_BY_ITSELF])


def _print(console: Console, rows: list[Row], sentences: list[str]) -> None:
    if console.is_terminal:
        console.print(_as_table(rows), soft_wrap=False)
    else:
        for line in _as_lines(rows):
            console.print(Text(line))
    for sentence in sentences:
        console.print(Text(sentence))


def _as_table(rows: list[Row]) -> Table:
    header, *body = rows
    grid = Table()
    for index, title in enumerate(header):
        grid.add_column(Text(title), justify="right" if index else "left")
    for row in body:
        cells = (Text(cell.replace(" [", "\n[")) for cell in row)  # intervals below, or few terminals are wide enough
        grid.add_row(*cells, style="bold" if row[0].endswith(CHOSEN) else None)
    return grid


def _as_lines(rows: list[Row]) -> list[str]:
    header, *body = rows
    return ["; ".join(f"{title} {cell}" for title, cell in zip(header, row, strict=True)) for row in body]
