"""The event loop's lag is what a timer waits beyond its time."""

import asyncio
import time

from service.watch.loop_lag import INTERVAL_SECONDS, watch_loop_lag


async def test_a_stall_is_one_observation_as_long_as_itself() -> None:
    """Whatever holds the loop up shows once it is over, but for the part of it in which the timer was not yet due."""
    stall_seconds = 3 * INTERVAL_SECONDS
    lags: list[float] = []
    watching = asyncio.create_task(watch_loop_lag(lags.append))
    await asyncio.sleep(0)
    time.sleep(stall_seconds)  # noqa: ASYNC251  this is the stall
    async with asyncio.timeout(30):
        while not lags:  # noqa: ASYNC110  the observer is called by a task
            await asyncio.sleep(0.01)
    watching.cancel()
    assert lags[0] >= stall_seconds - INTERVAL_SECONDS - 0.01
