"""Canaries: known images that go through the whole path at start-up and while serving; a deviation ends readiness."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from service.bundle import Canary
from service.errors import MosGuardError, NotReady
from service.inference.health import Health
from service.inference.pipeline import Pipeline
from service.verdict import Verdict

# Far longer than any queue: a canary that is not answered by then means that the engine hangs.
DEADLINE_SECONDS = 30.0

_log = logging.getLogger(__name__)


def deviation(canary: Canary, verdict: Verdict, score_scale: float) -> float:
    """Return the largest difference between the scores of *verdict* and those expected; infinite for another class.

    Others scores, and so MOS, lie in [0, 1] and differ as they are. A score of another statistic has no bounds: it is
    measured in *score_scale*, `Decision.score_scale`, which is 1 for MOS and else about the spread of in-distribution
    scores. So one tolerance means the same share of what in-distribution images differ by, whatever decides.
    """
    if verdict.class_index != canary.class_index or len(verdict.others_scores) != len(canary.others_scores):
        return math.inf
    others_pairs = zip(canary.others_scores, verdict.others_scores.values(), strict=True)
    of_score = abs(canary.score - verdict.score) / score_scale
    return max(of_score, *(abs(expected - seen) for expected, seen in others_pairs))


class CanaryChecks:
    """Warms the engine up, judges the canaries, once or again and again, and keeps *health* by what they say."""

    def __init__(
        self,
        canaries: Sequence[Canary],
        pipeline: Pipeline,
        health: Health,
        *,
        score_scale: float,
        warm_up: Callable[[], None],
        tolerance: float,
        interval_seconds: float,
    ) -> None:
        self._canaries = deque(canaries)
        self._pipeline = pipeline
        self._health = health
        self._score_scale = score_scale
        self._warm_up = warm_up
        self._tolerance = tolerance
        self._interval_seconds = interval_seconds
        self._is_warm = False

    async def run(self, observe: Callable[[float], None]) -> None:
        """Check for ever, and tell *observe* each deviation; whatever happens is noted, and the next check comes."""
        if not self._canaries:
            _log.warning("The bundle has no canaries, so nothing proves the model's answers; export it with some.")
        while True:
            try:
                observe(await self.check())
            except Exception:
                self._health.fail("canary")
                _log.exception("The canaries could not be checked.")
            await asyncio.sleep(self._interval_seconds)

    async def check(self) -> float:
        """Warm up where that is still to be done, judge every canary once, and set the health accordingly.

        Return the largest deviation, NaN where the canaries could not be judged.
        """
        try:
            if not self._is_warm:
                await asyncio.to_thread(self._warm_up)
                self._is_warm = True
            largest = max(await self._deviations(), default=0.0)
        except MosGuardError as error:
            if isinstance(error, NotReady):
                self._health.fail("engine")
            self._fail("could not be judged", error)
            return math.nan
        if largest > self._tolerance:
            self._fail(f"deviate by {largest:.6f}, more than {self._tolerance}")
        else:
            self._health.clear("starting", "engine", "canary")
        return largest

    async def _deviations(self) -> list[float]:
        """Judge the canaries in batches, where rows dealt to the wrong images show, and then one of them alone.

        Their order is another one each time: another batch's rows, which may be those of the check before, show too. An
        image that has the engine to itself may be run in another way than a batch, so each gets its turn at that.
        """
        self._canaries.rotate(1)
        together = await self._deviations_of(*self._canaries)
        return together + await self._deviations_of(*islice(self._canaries, 1))

    async def _deviations_of(self, *canaries: Canary) -> list[float]:
        verdicts = await self._pipeline.predict_together(
            [canary.encoded for canary in canaries], deadline=time.monotonic() + DEADLINE_SECONDS
        )
        return [deviation(*pair, self._score_scale) for pair in zip(canaries, verdicts, strict=True)]

    def _fail(self, what: str, error: MosGuardError | None = None) -> None:
        self._health.fail("canary")
        _log.error("The canaries %s; no verdicts are given.", what, exc_info=error)
