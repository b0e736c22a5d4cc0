"""A guard: one bundle in service, with its engine, its way from bytes to a verdict, and what it is watched by."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager

from service.bundle import Bundle
from service.errors import NotReady
from service.inference.canaries import CanaryChecks
from service.inference.engine import Provider
from service.inference.health import Fault, Health
from service.inference.pipeline import Pipeline
from service.verdict import Verdict
from service.watch.drift import Drift

# A batch takes seconds at most, on a CPU and with a large model too.
HANG_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Guard:
    """Everything that is replaced together when another bundle is taken into service.

    Without a calibration there is no *pipeline*, no *checks* and no *drift*: such a guard tells of itself and judges
    nothing. An engine that is at one batch for longer than *hang_seconds* hangs. All methods belong to one event loop.
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
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.provider = provider
        self.health = health
        self.drift = drift
        self._pipeline = pipeline
        self._checks = checks
        self._hang_seconds = hang_seconds
        self._watching: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
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

    @property
    def faults(self) -> Set[Fault]:
        """All that is wrong with this guard now."""
        hangs: Set[Fault] = {"engine"} if self._hanging_seconds else frozenset()
        return self.health.faults | hangs

    @property
    def engine_lost_seconds(self) -> float:
        """For how long the engine has failed without passing a check, or hung; 0 while it works."""
        return max(self.health.seconds("engine"), self._hanging_seconds)

    @property
    def _hanging_seconds(self) -> float:
        # Asked whenever somebody wants to know, so that it needs neither a caller in the queue nor a canary.
        return 0.0 if self._pipeline is None else max(0.0, self._pipeline.running_seconds - self._hang_seconds)

    def start(self) -> None:
        """Start the threads."""
        if self._pipeline is not None:
            self._pipeline.start()

    async def prove(self) -> bool:
        """Warm up and judge the canaries once; return whether nothing speaks against this guard."""
        if self._checks is not None:
            await self._checks.check()
        return not self.faults

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

    def go_on_from(self, former: "Guard") -> None:
        """Take over the evidence of *former* where nothing has changed that it is about: the same calibration."""
        if self.bundle.calibration == former.bundle.calibration:
            self.drift = former.drift

    async def retire(self, drain_seconds: float) -> None:
        """Answer all that was accepted, end the threads and let go of the model; whoever uses it is waited for.

        What lasts longer than *drain_seconds* goes on in the background, and ends with the last answer.
        """
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._pipeline is None:
            return
        self._ending = asyncio.create_task(self._end(self._pipeline), name="end of a guard")
        done, _ = await asyncio.wait([self._ending], timeout=drain_seconds)
        if not done:
            _log.error(
                "%s version %s is not at its end after %g s: its engine, or a caller, has not finished.",
                *(self.manifest.name, self.manifest.version, drain_seconds),
            )

    async def _end(self, pipeline: Pipeline) -> None:
        await self._is_unused.wait()
        await pipeline.drain()
