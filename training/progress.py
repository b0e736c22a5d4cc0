"""Progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
LINE_EVERY_SECONDS = 30.0


def say(line: str) -> None:
    """One line for a person to read, on standard error, so that standard output stays for results."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False)


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass `items` through and show how far they have come."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, total=total, description=what)
        return
    last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= LINE_EVERY_SECONDS:
            last = time.monotonic()
            say(f"{what}: {count} of {total}")
