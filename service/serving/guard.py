"""A guard: one bundle in service, with its engine, its way from bytes to a verdict, and what it is watched by."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from service.bundle import CARD_PICTURE_FILE, Bundle
from service.errors import NotReady
from service.inference.canaries import CanaryChecks
from service.inference.engine import Provider
from service.inference.health import Health
from service.inference.pipeline import Pipeline
from service.verdict import Verdict
from service.watch.drift import Drift

_log = logging.getLogger(__name__)


class Guard:
    """Everything that is replaced together when another bundle is taken into service.

    Without a calibration there is no *pipeline*, no *checks* and no *drift*: such a guard tells of itself and judges
    nothing. All methods belong to one event loop.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: Provider,
        health: Health,
        *,
        pipeline: Pipeline | None = None,
        checks: CanaryChecks | None = None,
        drift: Drift | None = None,
    ) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        # Read once: a later calibration in the same folder brings its own, and this one shows the threshold in force.
        self.card_picture = bundle.card.get(CARD_PICTURE_FILE)
        self.provider = provider
        self.health = health
        self.drift = drift
        self._pipeline = pipeline
        self._checks = checks
        self._watching: asyncio.Task[None] | None = None
        self._users = 0
        self._is_unused = asyncio.Event()
        self._is_unused.set()

    @property
    def pipeline(self) -> Pipeline:
        """The way from bytes to a verdict; raises NotReady where the bundle is not calibrated."""
        if self._pipeline is None:
            raise NotReady("The bundle is not calibrated.")
        return self._pipeline

    @property
    def depth(self) -> int:
        """The number of images on their way to the engine."""
        return 0 if self._pipeline is None else self._pipeline.depth

    def start(self) -> None:
        """Start the threads."""
        if self._pipeline is not None:
            self._pipeline.start()

    async def prove(self) -> bool:
        """Warm up and judge the canaries once; return whether nothing speaks against this guard."""
        if self._checks is not None:
            await self._checks.check()
        return not self.health.faults

    def watch(self, observe: Callable[[float], None]) -> None:
        """Judge the canaries from now on, and tell *observe* each deviation."""
        if self._checks is not None:
            self._watching = asyncio.create_task(self._checks.run(observe), name="canaries")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the guard from being retired while the block runs."""
        self._users += 1
        self._is_unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._is_unused.set()

    def note(self, verdict: Verdict) -> None:
        """Take a verdict that is given to a caller into the drift tests."""
        if self.drift is None:
            return
        for kind in self.drift.observe(verdict.score, accepted=verdict.decision == "in"):
            state = self.drift.states[kind]
            said = "raises its alarm" if state.alarm else "takes its alarm back"
            _log.warning("The drift test of %s %s after %d images.", kind, said, self.drift.pictures)

    async def retire(self, drain_seconds: float) -> None:
        """Answer all that was accepted, end the threads and let go of the model; whoever uses it is waited for."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._pipeline is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await self._is_unused.wait()
                await self._pipeline.drain()
                return
        _log.error("The engine did not end within %g s; it is left behind.", drain_seconds)
