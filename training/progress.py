"""Progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")
LINE_EVERY_SECONDS = 30.0


def say(line: str) -> None:
    """One line for a person to read, on standard error, so that standard output stays for results."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False)


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass `items` through and show how far they have come."""
    with _shown(total, what) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def counting(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """Give what is to be told how many more are done; shows how far, of a `total` that may be unknown, and how fast."""
    with _shown(total, what, speed=True) as advance:
        yield advance


@contextmanager
def _shown(total: int | None, what: str, *, speed: bool = False) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield _Lines(total, what, speed).advance
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    if speed:
        columns.append(_Speed())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


class _Lines:
    """A line every `LINE_EVERY_SECONDS`."""

    def __init__(self, total: int | None, what: str, speed: bool) -> None:
        self._what, self._speed = what, speed
        self._of = "" if total is None else f" of {total}"
        self._count = 0
        self._started_at = self._said_at = time.monotonic()

    def advance(self, count: int) -> None:
        self._count += count
        now = time.monotonic()
        if now - self._said_at >= LINE_EVERY_SECONDS:
            self._said_at = now
            speed = f", {self._count / (now - self._started_at):,.1f}/s" if self._speed else ""
            say(f"{self._what}: {self._count}{self._of}{speed}")
