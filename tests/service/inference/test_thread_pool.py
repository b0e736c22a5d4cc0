"""The threads answer each caller with the result of its own item, and forget those that left."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator

import pytest

from service.inference.thread_pool import ThreadPool


class Gate:
    """Doubles a number once it is open."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, item: int) -> int:
        assert self.open.wait(timeout=30)
        self.seen.append(item)
        if item < 0:
            raise ValueError(f"negative: {item}")
        return 2 * item


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def pool(gate: Gate) -> AsyncIterator[ThreadPool[int, int]]:
    pool = ThreadPool(gate, threads=1, name="test")
    pool.start()
    yield pool
    gate.open.set()
    pool.stop()


async def test_an_error_reaches_its_caller_alone(pool: ThreadPool[int, int]) -> None:
    """The others get their results, and the thread lives."""
    outcomes = await asyncio.gather(*(pool.run(item) for item in (1, -1, 3)), return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (2, 6)
    assert isinstance(outcomes[1], ValueError)
    assert await pool.run(4) == 8


async def test_a_cancelled_caller_costs_no_thread_time(pool: ThreadPool[int, int], gate: Gate) -> None:
    """An item that nobody waits for any more is not worked on."""
    gate.open.clear()
    tasks = [asyncio.create_task(pool.run(item)) for item in range(4)]
    await asyncio.sleep(0.05)
    for task in tasks[1:3]:
        task.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    assert await tasks[3] == 6
    assert gate.seen == [0, 3]


async def test_leaving_while_the_item_is_worked_on_is_no_fault(pool: ThreadPool[int, int], gate: Gate) -> None:
    """Its result has nobody to go to, the next caller gets its own, and the loop has nothing to complain about."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    gate.open.clear()
    leaver = asyncio.create_task(pool.run(1))
    await asyncio.sleep(0.05)
    leaver.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    assert await pool.run(2) == 4
    assert faults == []


@pytest.mark.parametrize("seed", range(3))
async def test_every_caller_gets_its_own_result_under_random_load(seed: int) -> None:
    """Many threads, random pauses, random cancellations: nothing is lost and nothing is mixed up."""
    pauses = random.Random(seed)
    pool = ThreadPool(lambda item: (time.sleep(pauses.random() * 0.001), item * 3)[1], threads=4, name="test")
    pool.start()
    rng = random.Random(seed)
    items = [rng.getrandbits(60) for _ in range(500)]
    tasks = [asyncio.create_task(pool.run(item)) for item in items]
    leavers = set(rng.sample(range(500), 100))
    for index in leavers:
        asyncio.get_running_loop().call_later(rng.random() * 0.05, tasks[index].cancel)
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    pool.stop()
    for index, (item, outcome) in enumerate(zip(items, outcomes, strict=True)):
        assert outcome == item * 3 or (index in leavers and isinstance(outcome, asyncio.CancelledError))
