"""The guard in force, and its exchange for another one without a gap.

The next bundle is read, verified, warmed up and its canaries are judged beside the guard in force; only then does it
take its place, between two turns of the event loop. Requests that the former guard accepted are answered by it; then it
ends. A bundle that is not good leaves everything as it was, is counted and named in the log.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from service.errors import BundleError, MosGuardError
from service.serving.guard import Guard
from service.serving.identity import identity_of

# For what the engine is at when the process ends: a run of the canaries, or of callers that have left.
ENDING_SECONDS = 2.0

_log = logging.getLogger(__name__)

Outcome = Literal["swapped", "refused"]


class Swap:
    """Holds `guard`, the one in force; all methods belong to one event loop.

    Args:
        path: where the bundle lies, or the link that leads to it.
        build: reads and verifies the bundle in a given folder; called in a thread.
        drain_seconds: how long a former guard is waited for.
        enter: called with each guard at the moment it comes into force.
        on_outcome: called with what became of each bundle that was to replace the one in service.
    """

    guard: Guard

    def __init__(
        self,
        path: Path,
        build: Callable[[Path], Guard],
        *,
        drain_seconds: float,
        enter: Callable[[Guard], None],
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._path = path
        self._build = build
        self._drain_seconds = drain_seconds
        self._enter = enter
        self._on_outcome = on_outcome
        self._is_wanted = asyncio.Event()

    async def start(self) -> None:
        """Bring the first guard into force; it proves itself while the service already answers that it is starting.

        Raises BundleError or ProviderError where it cannot be served.
        """
        self._tried = await asyncio.to_thread(identity_of, self._path)
        self._put_in_force(await self._built())

    def request(self) -> None:
        """Ask for the bundle to be read again; requests that come before `run` gets to it count as one."""
        self._is_wanted.set()

    async def run(self) -> None:
        """Carry out requests for ever, one after the other."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            await self.reload()

    async def watch(self, interval_seconds: float) -> None:
        """Ask for the bundle to be read whenever it has changed and then stood still from one look to the next."""
        seen = self._tried
        while True:
            await asyncio.sleep(interval_seconds)
            last, seen = seen, await asyncio.to_thread(identity_of, self._path)
            if seen == last != self._tried:
                self.request()

    async def reload(self) -> None:
        """Put the bundle that lies at the path now in the place of the one in force, or leave that where it is."""
        self._tried = await asyncio.to_thread(identity_of, self._path)
        try:
            guard = await self._proven()
        except Exception as error:  # whatever is wrong with the next bundle, the one in force goes on
            known = isinstance(error, MosGuardError)
            _log.error(
                "The bundle at %s is refused and %s version %s stays in service: %s",
                self._path,
                self.guard.manifest.name,
                self.guard.manifest.version,
                error if known else "it could not be loaded.",
                exc_info=None if known else error,
            )
            self._on_outcome("refused")
            return
        former = self.guard
        self._put_in_force(guard)
        self._on_outcome("swapped")
        await former.retire(self._drain_seconds)

    async def end(self) -> None:
        """End the guard in force; all callers have their answers, so an engine that hangs is not waited for."""
        await self.guard.retire(min(ENDING_SECONDS, self._drain_seconds))

    async def _built(self) -> Guard:
        # Resolved once: a link that is turned meanwhile must not mix two bundles.
        guard = await asyncio.to_thread(lambda: self._build(self._path.resolve()))
        guard.start()
        return guard

    async def _proven(self) -> Guard:
        guard = await self._built()
        try:
            if not await guard.prove():
                raise BundleError(_why_not(guard))
        except BaseException:
            await guard.retire(self._drain_seconds)
            raise
        return guard

    def _put_in_force(self, guard: Guard) -> None:
        self.guard = guard
        self._enter(guard)


def _why_not(guard: Guard) -> str:
    if "uncalibrated" in guard.faults:
        return "it is not calibrated; run `python -m training calibrate` on it."
    return "its canaries are not judged as expected; export it again."
