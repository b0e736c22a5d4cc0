"""The batcher keeps order, isolates its callers, refuses what it cannot hold and loses nothing that it accepted."""

import asyncio
import itertools
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from service.errors import DeadlineExceeded, ModelOutputError, NotReady, Overloaded
from service.inference.batcher import Batch, Batcher, Reply


class Doubler:
    """A run function whose batches can be held back, so that a test decides what is queued while the engine is busy."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.error: Exception | None = None
        self._held = False
        self._permits = threading.Semaphore(0)
        self._entered = threading.Semaphore(0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(list(items))
        self._entered.release()
        if self._held:
            assert self._permits.acquire(timeout=30), "the test never released the engine"
        if self.error is not None:
            raise self.error
        return [2 * item for item in items]

    def hold(self) -> None:
        """From now on a batch waits inside the engine for a step."""
        self._held = True

    def step(self) -> None:
        """Let one batch through."""
        self._permits.release()

    def release(self) -> None:
        """Let every batch through."""
        self._held = False
        self._permits.release(100)

    async def entered(self) -> None:
        """Wait until the engine has taken one more batch."""
        assert await asyncio.to_thread(self._entered.acquire, timeout=30)


@pytest.fixture
def run() -> Doubler:
    return Doubler()


Start = Callable[..., Batcher[int, int]]


@pytest.fixture
async def start(run: Doubler) -> AsyncIterator[Start]:
    """Start a batcher over *run*; it is drained when the test ends."""
    batchers: list[Batcher[int, int]] = []

    def build(**limits: Any) -> Batcher[int, int]:
        settings: dict[str, Any] = {"max_batch_size": 8, "max_wait_seconds": 60.0, "max_queue": 100} | limits
        batcher: Batcher[int, int] = Batcher(run, **settings)
        batcher.start()
        batchers.append(batcher)
        return batcher

    yield build
    run.release()
    for batcher in batchers:
        await batcher.drain()


async def submit_all(batcher: Batcher[int, int], items: range) -> list[asyncio.Task[Reply[int]]]:
    """One task a caller, each as far as its place in the queue."""
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def values(tasks: list[asyncio.Task[Reply[int]]]) -> list[int]:
    async with asyncio.timeout(30):
        return [reply.value for reply in await asyncio.gather(*tasks)]


async def test_answers_one_item_at_once_when_idle(start: Start) -> None:
    """An idle engine is not made to wait: with a waiting time of a minute a single item is answered now."""
    batcher = start(max_wait_seconds=60.0)
    async with asyncio.timeout(30):
        assert (await batcher.submit(21)).value == 42


async def test_a_cancelled_caller_leaves_its_neighbours_answered(start: Start, run: Doubler) -> None:
    """A caller cancelled while it waits takes nobody with it."""
    batcher = start()
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 5))
    tasks[1].cancel()
    run.release()
    assert await values([blocker, tasks[0], *tasks[2:]]) == [0, 2, 6, 8]
    assert tasks[1].cancelled()


async def test_a_caller_cancelled_while_the_engine_runs_its_batch_harms_nobody(start: Start, run: Doubler) -> None:
    """Cancelling in the middle of a run leaves that batch's other callers answered and the batcher serving."""
    batcher = start()
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 4))
    run.step()
    await blocker
    await run.entered()
    tasks[0].cancel()
    await asyncio.sleep(0)
    run.release()
    assert await values(tasks[1:]) == [4, 6]
    assert (await batcher.submit(50)).value == 100


async def test_an_exception_reaches_every_caller_of_its_batch_and_the_loop_lives(start: Start, run: Doubler) -> None:
    """A failing run fails its own callers, all of them, and the next batch is served."""
    batcher = start()
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 4))
    run.error = ModelOutputError("The model returned NaN.")
    run.release()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(blocker, *tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ModelOutputError] * 4
    run.error = None
    assert (await batcher.submit(4)).value == 8


@pytest.mark.parametrize("wrong", [[], [1, 2], [1, 2, 3, 4]], ids=["none", "too few", "too many"])
async def test_a_result_list_of_wrong_length_is_an_error_for_all(wrong: list[int]) -> None:
    """Results that cannot be told apart are given to nobody."""

    def run(items: list[int]) -> list[int]:
        return wrong if len(items) == 3 else list(items)

    batcher: Batcher[int, int] = Batcher(run, max_batch_size=8, max_wait_seconds=60.0, max_queue=8)
    batcher.start()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*(batcher.submit(item) for item in range(3)), return_exceptions=True)
        assert (await batcher.submit(7)).value == 7
        await batcher.drain()
    assert [type(outcome) for outcome in outcomes] == [ModelOutputError] * 3


async def test_a_full_queue_refuses_at_once(start: Start, run: Doubler) -> None:
    """The item that does not fit is refused immediately, with a time to come back after, and nobody else notices."""
    batcher = start(max_queue=2)
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    waiting = await submit_all(batcher, range(1, 3))
    with pytest.raises(Overloaded) as refusal:
        await batcher.submit(3)
    assert refusal.value.retry_after_seconds > 0
    run.release()
    assert await values([blocker, *waiting]) == [0, 2, 4]


async def test_retry_after_is_the_queue_times_the_measured_batch_time() -> None:
    """Twice the batches ahead means twice the wait, in units of the time a batch was measured to take."""
    ticks = itertools.count(0.0, 5.0)
    batcher: Batcher[int, int] = Batcher(
        list, max_batch_size=4, max_wait_seconds=0.0, max_queue=8, clock=lambda: next(ticks)
    )
    batcher.start()
    await batcher.submit(1)
    one_batch = batcher.seconds_to_clear(4)
    assert one_batch > 0
    assert batcher.seconds_to_clear(8) == pytest.approx(2 * one_batch)
    assert batcher.seconds_to_clear(9) == pytest.approx(3 * one_batch)
    await batcher.drain()


async def test_a_cancelled_caller_gives_its_place_back(start: Start, run: Doubler) -> None:
    """A queue full of callers that left is empty: the next caller is accepted."""
    batcher = start(max_queue=2)
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    for task in await submit_all(batcher, range(1, 3)):
        task.cancel()
    await asyncio.sleep(0)
    newcomer = await submit_all(batcher, range(9, 10))
    assert batcher.depth == 1
    run.release()
    assert await values([blocker, *newcomer]) == [0, 18]


async def test_a_caller_that_left_before_batching_costs_no_engine_time(start: Start, run: Doubler) -> None:
    """The engine never sees the item of a caller that was cancelled while it queued."""
    batcher = start()
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 4))
    tasks[1].cancel()
    await asyncio.sleep(0)
    run.release()
    await values([blocker, tasks[0], tasks[2]])
    assert run.batches == [[0], [1, 3]]


async def test_callers_that_left_a_full_queue_cost_no_engine_time(start: Start, run: Doubler) -> None:
    """Of more than a batch the items of callers that left are not run, and cost nobody a place in one."""
    batcher = start(max_batch_size=2)
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 5))
    for task in tasks[:3]:
        task.cancel()
    await asyncio.sleep(0)
    run.release()
    await values([blocker, tasks[3]])
    assert run.batches == [[0], [4]]


async def test_an_item_past_its_deadline_is_dropped_before_batching(start: Start, run: Doubler) -> None:
    """An item whose deadline passed in the queue is an error for its caller and costs no engine time."""
    batcher = start()
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    late = asyncio.create_task(batcher.submit(1, deadline=time.monotonic() - 1.0))
    in_time = asyncio.create_task(batcher.submit(2, deadline=time.monotonic() + 3600.0))
    await asyncio.sleep(0)
    run.release()
    with pytest.raises(DeadlineExceeded):
        await late
    assert await values([blocker, in_time]) == [0, 4]
    assert run.batches == [[0], [2]]


async def test_a_batch_closes_at_its_largest_size(start: Start, run: Doubler) -> None:
    """No batch is larger than max_batch_size, and a queue of many is cut into full ones in order."""
    batcher = start(max_batch_size=4)
    run.hold()
    blocker = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 11))
    run.release()
    await values([*blocker, *tasks])
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_a_batch_gathers_beside_another_until_its_oldest_item_has_waited_long_enough(
    start: Start, run: Doubler
) -> None:
    """A thread that is free while another runs waits for company for max_wait_seconds, and no longer."""
    batcher = start(threads=2, max_wait_seconds=0.05)
    run.hold()
    tasks = await submit_all(batcher, range(1))
    await run.entered()
    tasks += await submit_all(batcher, range(1, 3))
    assert run.batches == [[0]]
    await run.entered()
    tasks += await submit_all(batcher, range(3, 5))
    run.release()
    await values(tasks)
    assert run.batches == [[0], [1, 2], [3, 4]]


async def test_a_full_batch_does_not_gather_any_longer(start: Start, run: Doubler) -> None:
    """It runs beside another at once, however long it might still gather, and what is over gathers."""
    batcher = start(threads=2, max_batch_size=2, max_wait_seconds=3600.0)
    run.hold()
    tasks = await submit_all(batcher, range(1))
    await run.entered()
    tasks += await submit_all(batcher, range(1, 4))
    await run.entered()
    assert run.batches == [[0], [1, 2]]
    assert batcher.depth == 1
    run.release()
    await values(tasks)
    assert run.batches == [[0], [1, 2], [3]]


async def test_the_end_of_a_batch_ends_the_gathering_of_another(start: Start, run: Doubler) -> None:
    """An idle engine is not made to wait, even where the thread that gathers is not the one that became free."""
    batcher = start(threads=2, max_wait_seconds=3600.0)
    run.hold()
    blocker = await submit_all(batcher, range(1))
    await run.entered()
    gathering = await submit_all(batcher, range(1, 3))
    run.step()
    await run.entered()
    assert run.batches == [[0], [1, 2]]
    run.release()
    await values([*blocker, *gathering])


async def test_threads_with_cores_of_their_own_share_out_what_waits(start: Start, run: Doubler) -> None:
    """A batch for each is done sooner than one batch of all."""
    batcher = start(threads=2, is_behind=lambda: False)
    run.hold()
    tasks = await submit_all(batcher, range(6))
    await run.entered()
    await run.entered()
    assert sorted(run.batches) == [[0, 1, 2], [3, 4, 5]]
    run.release()
    assert await values(tasks) == [0, 2, 4, 6, 8, 10]


async def test_a_thread_with_cores_of_its_own_runs_one_item_beside_another(start: Start, run: Doubler) -> None:
    """A core that has nothing to do takes what comes, however long the waiting time is."""
    batcher = start(threads=2, is_behind=lambda: False)
    run.hold()
    tasks = await submit_all(batcher, range(1))
    await run.entered()
    tasks += await submit_all(batcher, range(1, 2))
    await run.entered()
    assert run.batches == [[0], [1]]
    run.release()
    await values(tasks)


async def test_batches_gather_while_those_who_make_the_items_are_behind(start: Start, run: Doubler) -> None:
    """Even an idle engine leaves them the cores, until a batch is full, its oldest item waited, or they caught up."""
    behind = [True]
    batcher = start(threads=2, max_batch_size=3, max_wait_seconds=3600.0, is_behind=lambda: behind[0])
    tasks = await submit_all(batcher, range(2))
    await asyncio.sleep(0.02)
    assert run.batches == []
    tasks += await submit_all(batcher, range(2, 3))
    assert await values(tasks) == [0, 2, 4]
    assert run.batches == [[0, 1, 2]]
    tasks = await submit_all(batcher, range(1))
    behind[0] = False
    tasks += await submit_all(batcher, range(1, 2))
    assert await values(tasks) == [0, 2]


async def test_a_batch_gathers_no_longer_than_its_oldest_item_may_wait(start: Start, run: Doubler) -> None:
    """However far those who make the items are behind."""
    batcher = start(max_wait_seconds=0.01, is_behind=lambda: True)
    assert await values(await submit_all(batcher, range(2))) == [0, 2]
    assert run.batches == [[0, 1]]


async def test_items_gather_while_the_engine_is_busy(start: Start, run: Doubler) -> None:
    """What arrives during a run becomes one batch as soon as the engine is idle, however long the waiting time is."""
    batcher = start(max_wait_seconds=3600.0)
    run.hold()
    blocker = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 6))
    run.release()
    await values([*blocker, *tasks])
    assert run.batches == [[0], [1, 2, 3, 4, 5]]


@pytest.mark.parametrize("seed", range(5))
async def test_every_caller_gets_its_own_answer_under_random_load(seed: int) -> None:
    """Random payloads, random pauses, random cancellations: each caller that stays gets the answer to its own item."""
    rng = random.Random(seed)
    runs = random.Random(seed + 1000)

    def run(items: list[int]) -> list[str]:
        time.sleep(runs.random() * 0.002)
        return [f"answer to {item}" for item in items]

    batcher: Batcher[int, str] = Batcher(
        run,
        threads=1 + seed % 3,
        max_batch_size=7,
        max_wait_seconds=0.001,
        max_queue=10_000,
        is_behind=[None, lambda: False, lambda: True][seed % 3],
    )
    batcher.start()

    async def call(item: int, pause_seconds: float) -> tuple[int, str]:
        await asyncio.sleep(pause_seconds)
        return item, (await batcher.submit(item)).value

    tasks = [asyncio.create_task(call(rng.getrandbits(60), rng.random() * 0.05)) for _ in range(400)]
    leavers = set(rng.sample(range(400), 120))
    for index in leavers:
        asyncio.get_running_loop().call_later(rng.random() * 0.06, tasks[index].cancel)
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.drain()
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, asyncio.CancelledError):
            assert index in leavers
        else:
            assert not isinstance(outcome, BaseException), outcome
            item, answer = outcome
            assert answer == f"answer to {item}"


@pytest.mark.parametrize("seed", range(5))
async def test_every_caller_gets_its_own_answers_out_of_mixed_full_batches(
    start: Start, run: Doubler, seed: int
) -> None:
    """Callers of 1 to 20 items share batches of 64; some leave before or in a run, those who stay get their own."""
    rng = random.Random(seed)
    batcher = start(max_batch_size=64, max_queue=10_000)
    run.hold()
    [blocker] = await submit_all(batcher, range(1))
    await run.entered()
    groups = [[rng.getrandbits(40) for _ in range(rng.randint(1, 20))] for _ in range(60)]

    async def call(items: list[int]) -> list[int]:
        return [reply.value for reply in await asyncio.gather(*map(batcher.submit, items))]

    tasks = [asyncio.create_task(call(items)) for items in groups]
    await asyncio.sleep(0.01)  # every item is in its place
    leavers = rng.sample(range(len(groups)), 20)
    for index in leavers[:10]:
        tasks[index].cancel()
    run.step()  # the blocker's batch
    await run.entered()
    for index in leavers[10:]:
        tasks[index].cancel()
    await asyncio.sleep(0)
    run.release()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(blocker, *tasks, return_exceptions=True)
    for index, (items, outcome) in enumerate(zip(groups, outcomes[1:], strict=True)):
        if index in leavers:
            assert isinstance(outcome, asyncio.CancelledError)
        else:
            assert outcome == [2 * item for item in items]
    assert max(map(len, run.batches)) == 64


async def test_a_drain_answers_all_it_accepted_and_refuses_what_is_new(start: Start, run: Doubler) -> None:
    """Draining ends when every accepted item is answered; meanwhile a new one is refused as NotReady."""
    batcher = start(max_batch_size=2)
    run.hold()
    tasks = await submit_all(batcher, range(7))
    await run.entered()
    drain = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0)
    with pytest.raises(NotReady):
        await batcher.submit(8)
    assert not drain.done()
    run.release()
    async with asyncio.timeout(30):
        await drain
    assert all(task.done() for task in tasks)
    assert await values(tasks) == [0, 2, 4, 6, 8, 10, 12]


async def test_a_batcher_that_was_not_started_refuses() -> None:
    """An item is never accepted by a batcher that has no engine thread to serve it."""
    batcher: Batcher[int, int] = Batcher(list, max_batch_size=1, max_wait_seconds=0.0, max_queue=1)
    with pytest.raises(NotReady):
        await batcher.submit(1)


async def test_draining_twice_and_without_work_returns(start: Start) -> None:
    """A drain of an idle or an already drained batcher is no wait at all."""
    batcher = start()
    async with asyncio.timeout(30):
        await batcher.drain()
        await batcher.drain()
    with pytest.raises(NotReady):
        await batcher.submit(1)


async def test_the_hook_sees_each_batch_and_a_broken_hook_harms_nobody(run: Doubler) -> None:
    """Observations go to a callback; one that raises costs no caller its answer."""
    sizes: list[int] = []

    def observe(batch: Batch) -> None:
        assert batch.run_seconds >= 0
        sizes.append(len(batch.callers))
        raise RuntimeError("a broken hook")

    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    batcher: Batcher[int, int] = Batcher(run, max_batch_size=4, max_wait_seconds=60.0, max_queue=8, on_batch=observe)
    batcher.start()
    run.hold()
    blocker = await submit_all(batcher, range(1))
    await run.entered()
    tasks = await submit_all(batcher, range(1, 4))
    run.release()
    assert await values([*blocker, *tasks]) == [0, 2, 4, 6]
    await batcher.drain()
    assert sizes == [1, 3]
    assert len(errors) == 2


async def test_the_age_of_the_running_batch_is_known_without_a_caller(start: Start, run: Doubler) -> None:
    """It counts from the moment the engine took the batch, and is 0 while there is none."""
    seconds = itertools.count()
    batcher = start(clock=lambda: next(seconds))
    assert batcher.running_seconds == 0
    run.hold()
    [caller] = await submit_all(batcher, range(1))
    await run.entered()
    ages = [batcher.running_seconds for _ in range(3)]
    assert 0 < ages[0] < ages[1] < ages[2]
    caller.cancel()
    assert batcher.running_seconds > ages[2]
    run.release()
    await batcher.drain()
    assert batcher.running_seconds == 0


@pytest.mark.parametrize("error", [RuntimeError("broken"), StopIteration()])
async def test_a_batch_that_failed_runs_no_more(start: Start, run: Doubler, error: Exception) -> None:
    """An engine that raises does not hang."""
    batcher = start()
    run.error = error
    with pytest.raises(RuntimeError):
        await batcher.submit(1)
    assert batcher.running_seconds == 0


async def test_times_are_told_apart(start: Start, run: Doubler) -> None:
    """A reply says how long its item queued and how long its batch ran, each as a non-negative number of seconds."""
    reply = await start().submit(1)
    assert reply.queue_seconds >= 0
    assert reply.run_seconds >= 0
