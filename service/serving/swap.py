"""The guard in force, and its exchange for another one without a gap.

The next bundle is read, verified, warmed up and its canaries are judged beside the guard in force; only then does it
take its place, between two turns of the event loop. Requests that the former guard accepted are answered by it; then it
ends. A bundle that is not good leaves everything as it was, is counted and named in the log.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from service.errors import BundleError, MosGuardError
from service.inference.thread_pool import ThreadPool
from service.serving.guard import Guard
from service.serving.identity import Identity, identity_of

# For what the engine is at when the process ends: a run of the canaries, or of callers that have left.
ENDING_SECONDS = 2.0
# A GPU may take minutes to build an engine; what takes longer will never be ready.
PROOF_SECONDS = 900.0
# A watched bundle that was refused is tried again though its files are the same: what was in the way, a disk that was
# gone or memory that was short, may have passed. Each time after twice as long, up to an hour.
FIRST_RETRY_SECONDS = 60.0
LAST_RETRY_SECONDS = 3600.0

_log = logging.getLogger(__name__)

Outcome = Literal["swapped", "refused"]


class Swap:
    """Holds `guard`, the one in force; all methods belong to one event loop.

    Args:
        path: where the bundle lies, or the link that leads to it.
        build: reads and verifies the bundle in a given folder; called in a thread that the end of the process does not
            wait for.
        is_wanted: set by whoever wants the bundle to be read again.
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
        is_wanted: asyncio.Event,
        drain_seconds: float,
        enter: Callable[[Guard], None],
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._path = path
        self._builder = ThreadPool(build, threads=1, name="build")
        self._is_wanted = is_wanted
        self._drain_seconds = drain_seconds
        self._enter = enter
        self._on_outcome = on_outcome
        self._tried: Identity = ()
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._retry_at: float | None = None  # seconds of time.monotonic; None unless the last bundle was refused

    async def start(self) -> None:
        """Bring the first guard into force; it proves itself while the service already answers that it is starting.

        Raises BundleError or ProviderError where it cannot be served.
        """
        self._builder.start()
        self._tried = await asyncio.to_thread(identity_of, self._path)
        self._put_in_force(await self._built())

    async def run(self) -> None:
        """Carry out what is wanted for ever; what is wanted again before it is begun counts as one."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            try:
                await self.reload()
            except Exception:
                _log.exception("The exchange of bundles failed; the next one that is wanted will be tried.")

    async def watch(self, interval_seconds: float) -> None:
        """Want the bundle to be read whenever it has changed and then stood still from one look to the next."""
        seen = self._tried
        while True:
            await asyncio.sleep(interval_seconds)
            last, seen = seen, await asyncio.to_thread(identity_of, self._path)
            stands_still, is_new = seen == last, seen != self._tried
            is_due_again = self._retry_at is not None and time.monotonic() >= self._retry_at
            if stands_still and (is_new or is_due_again):
                self._is_wanted.set()

    async def reload(self) -> None:
        """Put the bundle that lies at the path now in the place of the one in force, or leave that where it is."""
        identity = await asyncio.to_thread(identity_of, self._path)
        is_new, self._tried = identity != self._tried, identity
        former = self.guard
        try:
            async with asyncio.timeout(PROOF_SECONDS):
                await self._exchange(former)
        except Exception as error:  # whatever is wrong with the next bundle, the one in force goes on
            known = isinstance(error, MosGuardError)
            _log.error(
                "The bundle at %s is refused and %s version %s stays in service: %s",
                self._path,
                former.manifest.name,
                former.manifest.version,
                error if known else "it could not be loaded.",
                exc_info=None if known else error,
            )
            self._on_outcome("refused")
            self._retry_seconds = FIRST_RETRY_SECONDS if is_new else min(2 * self._retry_seconds, LAST_RETRY_SECONDS)
            self._retry_at = time.monotonic() + self._retry_seconds
            return
        self._retry_at = None
        self._on_outcome("swapped")
        await former.retire(self._drain_seconds)

    async def end(self) -> None:
        """End the guard in force; all callers have their answers, so an engine that hangs is not waited for."""
        self._builder.stop()
        await self.guard.retire(min(ENDING_SECONDS, self._drain_seconds))

    async def _built(self) -> Guard:
        # Resolved once: a link that is turned meanwhile must not mix two bundles.
        guard = await self._builder.run(self._path.resolve())
        guard.start()
        return guard

    async def _exchange(self, former: Guard) -> None:
        """Put a proven guard in the place of *former*; where anything fails, that stays and the new one is ended."""
        guard = await self._built()
        try:
            if not await guard.prove():
                raise BundleError(_why_not(guard))
            guard.go_on_from(former)
            self._put_in_force(guard)
        except BaseException:
            await guard.retire(self._drain_seconds)
            raise

    def _put_in_force(self, guard: Guard) -> None:
        self._enter(guard)  # first, so that no guard is in force whose canaries nobody watches
        self.guard = guard


def _why_not(guard: Guard) -> str:
    if "uncalibrated" in guard.faults:
        return "it is not calibrated; run `python -m training calibrate` on it."
    return "its canaries are not judged as expected; export it again."
