"""Threads that run one function over single items, for callers of an event loop.

Unlike `ThreadPoolExecutor`, results are handed to the loop in bunches, as many as are there when it looks: under load
waking the loop for every item costs more than a small picture does. And a caller that is cancelled takes its item back.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class _Job(Generic[T, R]):
    item: T | None
    future: asyncio.Future[R]
    result: Any = None
    error: Exception | None = None


class ThreadPool(Generic[T, R]):
    """*threads* daemon threads around *function*; all methods belong to one event loop."""

    def __init__(self, function: Callable[[T], R], *, threads: int, name: str) -> None:
        self._function = function
        self._inbox: SimpleQueue[_Job[T, R] | None] = SimpleQueue()
        self._done: deque[_Job[T, R]] = deque()
        self._is_waking = False
        self._threads = [threading.Thread(target=self._serve, name=f"{name}-{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        """Start the threads; the running event loop is the one that callers must use."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    async def run(self, item: T) -> R:
        """Return what *function* makes of *item*, or raise what it raises; items are begun in order."""
        job: _Job[T, R] = _Job(item, self._loop.create_future())
        self._inbox.put(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.item = None  # its bytes need not wait for a thread to find that nobody does
            raise

    def stop(self) -> None:
        """Let each thread end after what it is at; what nobody has begun is left."""
        for _ in self._threads:
            self._inbox.put(None)

    def _serve(self) -> None:
        while (job := self._inbox.get()) is not None:
            item = job.item
            if item is None or job.future.done():
                continue
            try:
                job.result = self._function(item)
            except Exception as error:
                job.error = error
            job.item = item = None
            self._done.append(job)
            if not self._is_waking:
                self._is_waking = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop was closed: there is nobody left to tell
                    return

    def _deliver(self) -> None:
        # First the flag, then the jobs: a thread that appends from now on either is seen below or wakes the loop again.
        self._is_waking = False
        while self._done:
            job = self._done.popleft()
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)
