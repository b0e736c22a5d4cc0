"""A thread that runs one function at a time for callers in other threads."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Inbox = SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]


class DeviceThread:
    """It ends when nobody holds this object any more, and, being a daemon, never keeps a process from ending."""

    def __init__(self, name: str) -> None:
        self._inbox: _Inbox = SimpleQueue()
        threading.Thread(target=_serve, args=(self._inbox,), name=name, daemon=True).start()
        weakref.finalize(self, self._inbox.put, None)

    def run(self, function: Callable[[], T]) -> T:
        """Return what *function* returns in the thread, or raise what it raises there; callers take turns."""
        future: Future[T] = Future()
        self._inbox.put((function, future))
        return future.result()


def _serve(inbox: _Inbox) -> None:
    while (job := inbox.get()) is not None:
        function, future = job
        try:
            future.set_result(function())
        except BaseException as error:  # the caller is to judge it, whatever it is
            future.set_exception(error)
        # Or the thread would hold on to a model until its next batch.
        del job, function, future
