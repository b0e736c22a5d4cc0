"""A client that leaves cancels its request; one that stays is never disturbed."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.http.disconnect import CancelOnDisconnect


class Client:
    def __init__(self) -> None:
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}


async def test_work_for_a_client_that_left_is_cancelled() -> None:
    """The block ends with ClientDisconnect, and what ran in it was cancelled."""
    client = Client()
    asyncio.get_running_loop().call_later(0.1, client.leave)
    work = asyncio.Event().wait()
    with pytest.raises(ClientDisconnect), CancelOnDisconnect(client.receive):
        await work
    assert work.cr_frame is None  # it ended
    await asyncio.sleep(0)  # the task goes on undisturbed


async def test_a_client_that_stays_gets_its_result() -> None:
    """Long or short, a block that ends is left alone."""
    results = []
    for seconds in (0.0, 0.3):
        with CancelOnDisconnect(Client().receive):
            results.append(await asyncio.sleep(seconds, result=seconds))
    assert results == [0.0, 0.3]


async def test_an_error_of_the_work_passes() -> None:
    """The block's own error is not mistaken for a leaving."""

    async def work() -> None:
        await asyncio.sleep(0.3)
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"), CancelOnDisconnect(Client().receive):
        await work()


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    """The server's own cancelling is not a client's leaving."""

    async def work() -> None:
        with CancelOnDisconnect(Client().receive):
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_inside_stays_one() -> None:
    """A deadline within the block is not confused by the watching."""
    with pytest.raises(TimeoutError), CancelOnDisconnect(Client().receive):
        async with asyncio.timeout(0.3):
            await asyncio.sleep(30)
