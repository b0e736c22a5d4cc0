"""What was measured, a JSON line each in `rounds.jsonl`: a run that was cut off goes on where it stopped."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "rounds.jsonl"
Row = dict[str, Any]


class Journal:
    """The rows of a folder; a row is found by its key, and its figures are the rest of it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        text = self._path.read_text() if self._path.exists() else ""
        # A last line without its end was being written when the run was killed.
        self.rows: list[Row] = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        self._path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def matching(self, key: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the rows that agree with *key* in all that it names."""
        return (row for row in self.rows if all(row.get(name) == value for name, value in key.items()))

    def measure(self, key: Row, figures: Callable[[], Row]) -> Row:
        """Return the row of *key*, whose *figures* are measured and written where it is not there yet."""
        if known := next(self.matching(key), None):
            return known
        row = key | figures()
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row

    def median(self, key: Mapping[str, Any], figure: str) -> float | None:
        """Return the median of *figure* over the rounds of *key*; None where there are none."""
        values = [row[figure] for row in self.matching(key)]
        return statistics.median(values) if values else None

    def ratio(self, key: Mapping[str, Any], other: Mapping[str, Any], figure: str) -> float | None:
        """Return the median over the rounds of *figure* of *key* by that of *other*, each in its own round."""
        others = {row["round"]: row[figure] for row in self.matching(other)}
        ratios = [row[figure] / others[row["round"]] for row in self.matching(key) if row["round"] in others]
        return statistics.median(ratios) if ratios else None
