"""Rows of measurements, kept as they are made, and what is to be measured."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The device, and how much is to be measured on it."""

    device: str
    quick: bool
    folder: Path
    ends_at: float  # of time.monotonic

    @property
    def is_over(self) -> bool:
        """Say whether no further row may be begun."""
        return time.monotonic() > self.ends_at

    @property
    def models(self) -> dict[str, int]:
        """Backbone -> side of its pictures, in pixels."""
        return {"R11-tiny": 32} if self.quick else {"R50x1": 480, "R101x1": 480}

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        if self.quick:
            return (1, 3)
        return (1, 2, 4, 8, 16, 32, 64) if self.device == "cuda" else (1, 4)

    @property
    def seconds(self) -> float:
        """How long one row is measured."""
        return 0.05 if self.quick else 1.0


class Results:
    """A file of rows, one JSON object a line; the first fields of a row, its key, say what was measured."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path, self._plan = path, plan
        self._known = {self._key(row) for row in read_rows(path)}

    def add(self, key: Row, measure: Callable[[], Row]) -> None:
        """Measure and keep, unless the row is there or the time is over; what cannot be measured says why."""
        key = {"device": self._plan.device, "quick": self._plan.quick} | key
        if self._key(key) in self._known or self._plan.is_over:
            return
        try:
            row = key | measure()
        except Exception as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines() or [""]
            row = key | {"failed": f"{type(error).__name__}: {said[-1]}"[:300]}
        self._known.add(self._key(key))
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, file=sys.stderr)

    @staticmethod
    def _key(row: Row) -> frozenset[tuple[str, Any]]:
        names = ("device", "quick", "model", "precision", "way", "batch", "clients")
        return frozenset((name, row[name]) for name in names if name in row)


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def median_seconds(run: Callable[[], object], seconds: float) -> float:
    """What one call of *run* takes, after two that warm up: the median of at least three within about *seconds*."""
    run()
    run()
    times: list[float] = []
    ends_at = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < ends_at:
        started_at = time.perf_counter()
        run()
        times.append(time.perf_counter() - started_at)
    return statistics.median(times)
