"""How late the event loop serves a timer: all that it answers, probes included, waits at least as long."""

import asyncio
import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.25


async def watch_loop_lag(observe: Callable[[float], None]) -> None:
    """Tell *observe* for ever, at each interval, by how many seconds the timer was late."""
    while True:
        due_at = time.monotonic() + INTERVAL_SECONDS
        await asyncio.sleep(INTERVAL_SECONDS)
        observe(max(0.0, time.monotonic() - due_at))
