"""Stop working for a client that left: its request is cancelled, and its place in every queue is free again."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect
from starlette.types import Receive

# Watching costs a task, so it begins only once a request has lasted: most are answered before.
WATCH_AFTER_SECONDS = 0.2


class CancelOnDisconnect:
    """Cancel the current task while the block runs, when the client leaves; the block then raises ClientDisconnect.

    The body must have been read to its end: what *receive* gives next is the client's leaving.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._has_left = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a request is served in a task"
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._has_left and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise ClientDisconnect from error

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        self._task.cancel()
