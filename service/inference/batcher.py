"""Dynamic batching: single items in, batches through a few engine threads, each caller gets its own result.

The batcher knows neither images nor ONNX Runtime nor HTTP: it is given a function from a list of items to a list of
results. A thread that is free takes a batch out of the queue by itself, at the last moment and without waiting for the
event loop. It takes it at once, unless a fuller one is worth waiting for: then until it is full or its oldest item has
waited `max_wait_seconds`.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    engine_seconds: float  # for how long it had the whole engine: with two threads, for half of the time that it ran
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
    """Batch the items of many callers; all methods belong to one event loop, *run* to the engine threads.

    Args:
        run: called in *threads* threads at a time with 1 to *max_batch_size* items; must return as many results, in
            order.
        max_batch_size: the most items of one batch.
        max_wait_seconds: how long a batch may gather after its oldest item.
        is_behind: asked in any thread where each computes on cores of its own: whether those who make the items lag
            behind and need the cores more. Only then do batches gather; else free threads share out what waits. Without
            it the threads share one device, and a batch gathers while another runs.
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
        threads: int = 1,
        is_behind: Callable[[], bool] | None = None,
        on_batch: Callable[[Batch], None] = lambda batch: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._max_wait_seconds = max_wait_seconds
        self._max_queue = max_queue
        self._is_behind = is_behind
        self._on_batch = on_batch
        self._clock = clock
        self._batch_seconds: float | None = None
        self._threads = [
            threading.Thread(target=self._serve, args=(i,), name=f"engine-{i}", daemon=True) for i in range(threads)
        ]
        self._started = False
        self._draining = False
        self._drained = asyncio.Event()
        self._is_waking = False
        # What event loop and engine threads share, under the lock of `_changed`.
        self._changed = threading.Condition()
        self._waiting: deque[_Entry[T, R]] = deque()
        self._running_since: list[float | None] = [None] * threads
        self._undelivered = 0  # batches that were taken, and whose callers have not heard
        self._ended = False

    def start(self) -> None:
        """Start the engine threads; the running event loop is the one that callers must use."""
        self._loop = asyncio.get_running_loop()
        self._started = True
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """The number of items that wait for the engine."""
        return len(self._waiting)

    @property
    def running_seconds(self) -> float:
        """For how long the engine has been at the oldest batch that it runs now; 0 where it runs none."""
        running = [since for since in self._running_since if since is not None]
        return self._clock() - min(running) if running else 0.0

    def seconds_to_clear(self, items: int) -> float:
        """How long the engine will be busy with *items* waiting items, from the measured time of a batch."""
        batches = math.ceil(items / self._max_batch_size) + self._undelivered
        return math.ceil(batches / len(self._threads)) * (self._batch_seconds or _UNMEASURED_BATCH_SECONDS)

    async def submit(self, item: T, *, deadline: float | None = None, caller: object = None) -> Reply[R]:
        """Queue *item* and wait for its result; *on_batch* hears of *caller*, and nobody else looks at it.

        Raises:
            NotReady: the batcher was not started, or is draining.
            Overloaded: the queue is full.
            DeadlineExceeded: *deadline* (monotonic seconds) passed before the item's batch was run.
            Exception: whatever *run* raised for the item's batch.
        """
        if not self._started or self._draining:
            raise NotReady("The service takes no more work; send the request to another replica.")
        depth = self.depth
        if depth >= self._max_queue:
            raise Overloaded("The queue is full; try again later.", retry_after_seconds=self.seconds_to_clear(depth))
        entry: _Entry[T, R] = _Entry(item, self._loop.create_future(), deadline, self._clock(), caller)
        with self._changed:
            self._waiting.append(entry)
        if not self._is_waking:
            # In the next turn of the loop, not now: items that arrive in the same turn share a batch.
            self._is_waking = True
            self._loop.call_soon(self._wake)
        try:
            return await entry.future
        except asyncio.CancelledError:
            self._leave(entry)
            raise

    async def drain(self) -> None:
        """Refuse new items, wait until every accepted one is answered, and end the engine threads."""
        self._draining = True
        if not self._started:
            return
        if self._waiting or self._undelivered:
            await self._drained.wait()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _leave(self, entry: _Entry[T, R]) -> None:
        """Give back the place of a caller that was cancelled."""
        with self._changed, contextlib.suppress(ValueError):
            self._waiting.remove(entry)
        if not entry.future.cancelled():
            entry.future.exception()  # answered in the same moment: mark the error as seen, nobody else will
        self._end_if_drained()

    def _wake(self) -> None:
        """Let threads that have nothing to do look at the queue: one for each item, as far as there are any."""
        self._is_waking = False
        with self._changed:
            self._changed.notify(len(self._waiting))

    def _serve(self, thread: int) -> None:
        """An engine thread: run batches until told to end."""
        while (batch := self._take(thread)) is not None:
            finished = self._run_batch(batch)
            with self._changed:
                self._running_since[thread] = None
                self._changed.notify()  # another thread may have waited for this batch to end
            try:
                self._loop.call_soon_threadsafe(self._deliver, finished)
            except RuntimeError:  # the loop was closed without a drain: there is nobody left to tell
                return

    def _take(self, thread: int) -> list[_Entry[T, R]] | None:
        """Wait for a batch and take it out of the queue; None once all is at an end."""
        with self._changed:
            while not (self._waiting and (wait_seconds := self._seconds_to_gather()) <= 0):
                if self._ended:
                    return None
                self._changed.wait(wait_seconds if self._waiting else None)
            batch = [self._waiting.popleft() for _ in range(min(self._share(), self._max_batch_size))]
            self._running_since[thread] = self._clock()
            self._undelivered += 1
        return batch

    def _seconds_to_gather(self) -> float:
        """For how long a batch of what waits may still gather."""
        if not self._gathers() or len(self._waiting) >= self._max_batch_size:
            return 0.0
        return self._waiting[0].queued_at + self._max_wait_seconds - self._clock()

    def _gathers(self) -> bool:
        """Say whether a fuller batch is worth waiting for."""
        return any(since is not None for since in self._running_since) if self._is_behind is None else self._is_behind()

    def _share(self) -> int:
        """How many of the items that wait a free thread should take."""
        if self._is_behind is None or self._gathers():
            return len(self._waiting)
        return math.ceil(len(self._waiting) / self._running_since.count(None))

    def _run_batch(self, batch: list[_Entry[T, R]]) -> _FinishedBatch[T, R]:
        started_at = self._clock()
        # Asked here, at the last moment, so that nobody who has left or come too late costs engine time.
        present = [entry for entry in batch if not entry.future.done()]
        late = [entry for entry in present if entry.deadline is not None and entry.deadline <= started_at]
        served = [entry for entry in present if entry not in late] if late else present
        results: Sequence[R] = ()
        error: Exception | None = None
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
        return _FinishedBatch(served, late, results, error, started_at, self._clock() - started_at)

    def _deliver(self, batch: _FinishedBatch[T, R]) -> None:
        """Answer every caller of a batch that ran."""
        with self._changed:
            self._undelivered -= 1
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
        self._end_if_drained()
        if batch.served:
            self._measure(batch.run_seconds)
            self._on_batch(self._told(batch))

    def _told(self, batch: _FinishedBatch[T, R]) -> Batch:
        callers = [entry.caller for entry in batch.served]
        engine_seconds = batch.run_seconds / len(self._threads)
        return Batch(callers, batch.started_at, batch.run_seconds, engine_seconds, batch.error)

    def _end_if_drained(self) -> None:
        if self._draining and not self._waiting and not self._undelivered:
            self._drained.set()

    def _measure(self, run_seconds: float) -> None:
        average = self._batch_seconds
        self._batch_seconds = run_seconds if average is None else average + _NEWEST_WEIGHT * (run_seconds - average)
