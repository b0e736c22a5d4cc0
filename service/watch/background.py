"""A thread that hands items to a sink, many at a time, so that a blocked or full sink never blocks an answer."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# What may wait for a slow sink; later items are dropped and counted.
MAX_WAITING = 10_000
_WRITE_EVERY_SECONDS = 0.1
# A sink that takes nothing for so long at the end is left behind.
_LAST_WRITE_SECONDS = 2.0


class BackgroundWriter(Generic[Item]):
    """Gives *write* the items that wait, ten times a second; it returns how many of them, in order, it wrote.

    `add` neither waits nor wakes anybody; callers of several threads take turns.
    """

    def __init__(self, write: Callable[[list[Item]], int], *, name: str) -> None:
        self._write_items = write
        self._items: deque[Item] = deque()
        # Two numbers, because each is counted by one thread alone.
        self._refused = 0
        self._lost = 0
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._write_until_closed, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """The number of items that found no room, or that the sink did not take."""
        return self._refused + self._lost

    def add(self, item: Item) -> None:
        """Keep *item* for the thread, or drop it where too many wait."""
        if len(self._items) >= MAX_WAITING:
            self._refused += 1
        else:
            self._items.append(item)

    def close(self) -> None:
        """Write what waits, as far as the sink takes it, and end the thread."""
        self._is_closed.set()
        self._thread.join(_LAST_WRITE_SECONDS)

    def _write_until_closed(self) -> None:
        while not self._is_closed.wait(_WRITE_EVERY_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        items = [self._items.popleft() for _ in range(len(self._items))]
        if items:
            self._lost += len(items) - self._write_items(items)
