"""The operating points of a calibration, for a person: a table on a terminal, a line each elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.bundle import Calibration, Manifest
from training.bundling.card import CHOSEN, HOW_TO_CHOOSE, NO_STRANGERS, Row, siblings_of, siblings_sentence, table


def show(manifest: Manifest, calibration: Calibration) -> None:
    """Print every operating point, what is known of unseen siblings, and how to choose another."""
    console = Console(highlight=False, soft_wrap=True)
    rows = table(manifest, calibration)
    if console.is_terminal:
        console.print(_as_table(rows), soft_wrap=False)
    else:
        for line in _as_lines(rows):
            console.print(Text(line))
    siblings = siblings_of(manifest)
    sentences = [siblings_sentence(siblings)] if siblings else []
    sentences += [] if calibration.strangers else [NO_STRANGERS]
    for sentence in [*sentences, HOW_TO_CHOOSE]:
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
