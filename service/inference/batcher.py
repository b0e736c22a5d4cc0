"""Dynamic batching: single items in, batches through one engine thread, each caller gets its own result.

The batcher knows neither images nor ONNX Runtime nor HTTP: it is given a function from a list of items to a list of
results. A batch closes when it is full, when its oldest item has waited `max_wait_seconds`, or at once when the engine
is idle. While one batch runs, one more may be closed and wait for it, so that the engine goes from batch to batch
without waiting for the event loop.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from service.errors import DeadlineExceeded, ModelOutputError, NotReady, Overloaded

T = TypeVar("T")
R = TypeVar("R")

# Until a batch has been measured, one second is the honest guess for what a batch takes.
_UNMEASURED_BATCH_SECONDS = 1.0
# Weight of the newest batch in the moving average of the batch time.
_NEWEST_WEIGHT = 0.2


class Reply(NamedTuple, Generic[R]):
    """The result of one item and where its time went."""

    value: R
    queue_seconds: float
    run_started_at: float  # on the batcher's clock
    run_seconds: float


class Batch(NamedTuple):
    """One run, whatever came of it."""

    callers: Sequence[object]  # whom each item was for, as `submit` was told
    started_at: float  # on the batcher's clock
    run_seconds: float
    error: Exception | None


@dataclass(eq=False, slots=True)
class _Entry(Generic[T, R]):
    item: T
    future: asyncio.Future[Reply[R]]
    deadline: float | None
    queued_at: float
    caller: object


@dataclass(slots=True)
class _FinishedBatch(Generic[T, R]):
    """What the engine thread hands back: who was run with which results or which error, and who came too late."""

    served: list[_Entry[T, R]]
    late: list[_Entry[T, R]]
    results: Sequence[R]
    error: Exception | None
    started_at: float
    run_seconds: float


class Batcher(Generic[T, R]):
    """Batch the items of many callers; all methods belong to one event loop, *run* to the engine thread alone.

    Args:
        run: called in the engine thread with 1 to *max_batch_size* items; must return as many results, in order.
        max_batch_size: the most items of one batch.
        max_wait_seconds: how long a batch may gather after its oldest item while the engine is busy.
        max_queue: the most items that wait; the next one is refused.
        on_batch: called in the event loop with each batch that ran, before its callers go on.
        clock: monotonic seconds; deadlines are on this clock.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        *,
        max_batch_size: int,
        max_wait_seconds: float,
        max_queue: int,
        on_batch: Callable[[Batch], None] = lambda batch: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_wait_seconds = max_wait_seconds
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._clock = clock
        self._batch_seconds: float | None = None
        self._gathering: deque[_Entry[T, R]] = deque()
        self._closed: deque[list[_Entry[T, R]]] = deque()  # the first one runs, at most one more waits
        self._inbox: SimpleQueue[list[_Entry[T, R]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._running_since: float | None = None
        self._wake_up: asyncio.Handle | None = None
        self._draining = False
        self._drained = asyncio.Event()

    def start(self) -> None:
        """Start the engine thread; the running event loop is the one that callers must use."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """The number of items that wait for the engine, and for which somebody still waits."""
        waiting = self._closed[1] if len(self._closed) > 1 else ()
        return len(self._gathering) + sum(not entry.future.done() for entry in waiting)

    @property
    def running_seconds(self) -> float:
        """For how long the engine has been at the batch that it runs now; 0 where it runs none."""
        running_since = self._running_since
        return 0.0 if running_since is None else self._clock() - running_since

    def seconds_to_clear(self, items: int) -> float:
        """How long the engine will be busy with *items* waiting items, from the measured time of a batch."""
        batches = math.ceil(items / self._max_batch_size) + bool(self._closed)
        return batches * (self._batch_seconds or _UNMEASURED_BATCH_SECONDS)

    async def submit(self, item: T, *, deadline: float | None = None, caller: object = None) -> Reply[R]:
        """Queue *item* and wait for its result; *on_batch* hears of *caller*, and nobody else looks at it.

        Raises:
            NotReady: the batcher was not started, or is draining.
            Overloaded: the queue is full.
            DeadlineExceeded: *deadline* (monotonic seconds) passed before the item's batch was run.
            Exception: whatever *run* raised for the item's batch.
        """
        if self._thread is None or self._draining:
            raise NotReady("The service takes no more work; send the request to another replica.")
        depth = self.depth
        if depth >= self._max_queue:
            raise Overloaded("The queue is full; try again later.", retry_after_seconds=self.seconds_to_clear(depth))
        entry: _Entry[T, R] = _Entry(item, self._loop.create_future(), deadline, self._clock(), caller)
        self._gathering.append(entry)
        if self._wake_up is None or len(self._gathering) == self._max_batch_size:
            self._wake(0.0)
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._leave(entry)
            raise

    async def drain(self) -> None:
        """Refuse new items, wait until every accepted one is answered, and end the engine thread."""
        self._draining = True
        if self._thread is None:
            return
        if self._gathering or self._closed:
            await self._drained.wait()
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _leave(self, entry: _Entry[T, R]) -> None:
        """Give back the place of a caller that was cancelled."""
        with contextlib.suppress(ValueError):
            self._gathering.remove(entry)
        if not entry.future.cancelled():
            entry.future.exception()  # answered in the same moment: mark the error as seen, nobody else will

    def _wake(self, delay_seconds: float) -> None:
        """Look at the open batch again, once, *delay_seconds* from now.

        Without delay this is the next turn of the loop, not now: items that arrive in the same turn share a batch.
        """
        if self._wake_up is not None:
            self._wake_up.cancel()
        self._wake_up = self._loop.call_later(delay_seconds, self._close)

    def _close(self) -> None:
        """Close every batch that is due and hand it to the engine thread."""
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        while self._gathering and len(self._closed) < 2:
            wait_seconds = self._gathering[0].queued_at + self._max_wait_seconds - self._clock()
            if self._closed and wait_seconds > 0 and len(self._gathering) < self._max_batch_size:
                self._wake(wait_seconds)
                return
            size = min(len(self._gathering), self._max_batch_size)
            batch = [self._gathering.popleft() for _ in range(size)]
            self._closed.append(batch)
            self._inbox.put(batch)
        if self._draining and not self._closed:
            self._drained.set()

    def _serve(self) -> None:
        """The engine thread: run closed batches until told to end."""
        while (batch := self._inbox.get()) is not None:
            finished = self._run_batch(batch)
            try:
                self._loop.call_soon_threadsafe(self._deliver, finished)
            except RuntimeError:  # the loop was closed without a drain: there is nobody left to tell
                return

    def _run_batch(self, batch: list[_Entry[T, R]]) -> _FinishedBatch[T, R]:
        started_at = self._clock()
        # Asked here, at the last moment, so that nobody who has left or come too late costs engine time.
        present = [entry for entry in batch if not entry.future.done()]
        late = [entry for entry in present if entry.deadline is not None and entry.deadline <= started_at]
        served = [entry for entry in present if entry not in late] if late else present
        results: Sequence[R] = ()
        error: Exception | None = None
        self._running_since = started_at
        try:
            if served:
                results = self._run([entry.item for entry in served])
            if len(results) != len(served):
                error = ModelOutputError(f"The engine returned {len(results)} results for {len(served)} items.")
        except StopIteration as stop:
            error = RuntimeError("The engine raised StopIteration, which a future cannot carry.")
            error.__cause__ = stop
        except Exception as failure:
            error = failure
        self._running_since = None
        return _FinishedBatch(served, late, results, error, started_at, self._clock() - started_at)

    def _deliver(self, batch: _FinishedBatch[T, R]) -> None:
        """Answer every caller of a batch that ran, and close the next one."""
        self._closed.popleft()
        for entry in batch.late:
            if not entry.future.done():
                entry.future.set_exception(DeadlineExceeded("The deadline passed while the request was queued."))
        if batch.error is not None:
            for entry in batch.served:
                if not entry.future.done():
                    entry.future.set_exception(batch.error)
        else:
            for entry, value in zip(batch.served, batch.results, strict=True):
                if not entry.future.done():
                    queue_seconds = batch.started_at - entry.queued_at
                    entry.future.set_result(Reply(value, queue_seconds, batch.started_at, batch.run_seconds))
        self._close()
        if batch.served:
            self._measure(batch.run_seconds)
            callers = [entry.caller for entry in batch.served]
            self._on_batch(Batch(callers, batch.started_at, batch.run_seconds, batch.error))

    def _measure(self, run_seconds: float) -> None:
        average = self._batch_seconds
        self._batch_seconds = run_seconds if average is None else average + _NEWEST_WEIGHT * (run_seconds - average)
