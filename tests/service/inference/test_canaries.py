"""The canaries decide over readiness: only a service whose answers are the expected ones is ready."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from service.bundle import Bundle, Canary
from service.errors import NotReady
from service.inference.batcher import Batcher
from service.inference.canaries import CanaryChecks, deviation
from service.inference.engine import Engine
from service.inference.health import Health
from service.inference.load import Load
from service.inference.pipeline import Image, Pipeline, judge_of, run_engine
from service.preprocess import decode
from service.verdict import Row, Verdict

pytestmark = pytest.mark.numeric

ROUNDING = 1e-4  # as large as float32 may make it where a batch, the threads or the processor are others


class SwitchableEngine:
    """The real engine, which can be made to fail or to drift."""

    def __init__(self, bundle: Bundle, health: Health) -> None:
        self._engine = Engine(bundle, provider="cpu")
        self._health = health
        self.change: Callable[[Row], Row] = lambda row: row
        self.warm_ups = 0
        self.warm_up_error: Exception | None = None
        self.batches: list[Image] = []  # (N, H, W, 3) each

    def warm_up(self) -> None:
        if self.warm_up_error is not None:
            raise self.warm_up_error
        self.warm_ups += 1

    def __call__(self, images: Sequence[Image]) -> list[Row]:
        self.batches.append(np.stack(images))
        return [self.change(row) for row in run_engine(self._engine, self._health, Load(), images)]


def drifted(row: Row, by: float) -> Row:
    scores = row.others_scores * (1 - by)
    mos = -float(scores.min())
    return row._replace(others_scores=scores, mos=mos, score=mos)


def broken(row: Row) -> Row:
    raise NotReady("ONNX Runtime could not run the model.")


class Watched:
    def __init__(self, watch: CanaryChecks, health: Health, engine: SwitchableEngine) -> None:
        self.watch, self.health, self.engine = watch, health, engine
        self.deviations: list[float] = []

    @property
    def ready(self) -> bool:
        return not self.health.faults

    async def check(self) -> None:
        """Check once and keep the deviation."""
        self.deviations.append(await self.watch.check())


@asynccontextmanager
async def watched(
    bundle: Bundle, *, canaries: Sequence[Canary] | None = None, max_queue: int = 10
) -> AsyncIterator[Watched]:
    assert bundle.calibration is not None
    health = Health("starting")
    engine = SwitchableEngine(bundle, health)
    batcher: Batcher[Image, Row] = Batcher(engine, max_batch_size=4, max_wait_seconds=0.0, max_queue=10)
    pipeline = Pipeline(
        input_spec=bundle.manifest.input,
        max_pixels=10_000,
        decode_threads=1,
        max_queue=max_queue,
        batcher=batcher,
        judge=judge_of(bundle.manifest, bundle.calibration),
        load=Load(),
    )
    pipeline.start()
    watch = CanaryChecks(
        bundle.canaries if canaries is None else canaries,
        pipeline,
        health,
        score_scale=bundle.manifest.decision_in_force.score_scale,
        warm_up=engine.warm_up,
        tolerance=0.01,
        interval_seconds=0.01,
    )
    yield Watched(watch, health, engine)
    await pipeline.drain()


async def test_agreeing_canaries_make_the_service_ready(tiny_bundle: Bundle) -> None:
    """Warmed up once, and the answers are those of the export."""
    async with watched(tiny_bundle) as service:
        assert not service.ready
        await service.check()
        await service.check()
        assert service.ready
        assert service.engine.warm_ups == 1
        assert max(service.deviations) <= ROUNDING


async def test_a_canary_that_moves_ends_readiness_until_it_is_back(tiny_bundle: Bundle) -> None:
    """Beyond the tolerance the service is not ready; within it, it is; the deviation is reported both times."""
    async with watched(tiny_bundle) as service:
        await service.check()
        service.engine.change = lambda row: drifted(row, 0.05)
        await service.check()
        assert not service.ready
        assert service.deviations[-1] > 0.01
        service.engine.change = lambda row: drifted(row, 0.001)
        await service.check()
        assert service.ready
        assert 0 < service.deviations[-1] < 0.01


async def test_another_class_is_no_agreement(tiny_bundle: Bundle) -> None:
    """Equal scores do not make up for a different prediction."""
    async with watched(tiny_bundle) as service:
        service.engine.change = lambda row: row._replace(class_index=(row.class_index + 1) % 6)
        await service.check()
        assert not service.ready
        assert service.deviations == [math.inf]


async def test_a_failing_engine_ends_readiness_until_a_canary_passes(tiny_bundle: Bundle) -> None:
    """An engine that comes back is believed only after it has answered right."""
    async with watched(tiny_bundle) as service:
        await service.check()
        service.health.fail("engine")
        service.engine.change = broken
        await service.check()
        assert not service.ready
        service.engine.change = lambda row: row
        await service.check()
        assert service.ready


async def test_an_engine_that_never_gets_warm_is_a_failing_engine(tiny_bundle: Bundle) -> None:
    """A service that cannot start for its engine's sake is told from one that takes its time."""
    async with watched(tiny_bundle) as service:
        service.engine.warm_up_error = NotReady("ONNX Runtime could not run the model.")
        await service.check()
        assert service.health.faults == {"starting", "engine", "canary"}
        service.engine.warm_up_error = None
        await service.check()
        assert service.ready


async def test_canaries_share_a_batch_and_change_places(tiny_bundle: Bundle) -> None:
    """All go to the engine together, then one alone, and no two checks in a row send them in the same order."""
    async with watched(tiny_bundle) as service:
        await service.watch.check()
        await service.watch.check()
        first, alone, second, other = service.engine.batches
        assert [len(alone), len(other)] == [1, 1]
        assert not np.array_equal(alone, other)
        assert len(first) == len(second) == len(tiny_bundle.canaries)
        assert not np.array_equal(first, second)
        assert np.array_equal(np.roll(first, 1, axis=0), second)


async def test_canaries_are_judged_though_there_is_no_room(tiny_bundle: Bundle) -> None:
    """What callers are refused for says nothing about the answers, which must not go unwatched meanwhile."""
    async with watched(tiny_bundle, max_queue=1) as service:
        assert await service.watch.check() <= 0.01
        assert service.health.faults == set()


async def test_without_canaries_a_warm_engine_is_ready(tiny_bundle: Bundle) -> None:
    """A bundle without canaries is served, on its export's word."""
    async with watched(tiny_bundle, canaries=()) as service:
        await service.check()
        assert service.ready
        assert service.engine.warm_ups == 1


async def test_the_watch_survives_whatever_happens(tiny_bundle: Bundle) -> None:
    """An unforeseen error ends readiness, not the watching."""
    async with watched(tiny_bundle) as service:

        def explode(row: Row) -> Row:
            raise RuntimeError("unforeseen")

        service.engine.change = explode
        task = asyncio.create_task(service.watch.run(service.deviations.append))
        await asyncio.sleep(0.1)
        assert not service.ready
        service.engine.change = lambda row: row
        async with asyncio.timeout(30):
            while not service.ready:  # noqa: ASYNC110  what a prober does
                await asyncio.sleep(0.01)
        task.cancel()


@pytest.mark.parametrize("field", ["score", "others_scores"])
def test_the_deviation_is_the_largest_of_all_scores(tiny_bundle: Bundle, field: str) -> None:
    """Neither the score nor any group's others score may move unseen."""
    canary, verdict = judged(tiny_bundle)
    assert deviation(canary, verdict, 1.0) <= ROUNDING
    moved = canary.score - 0.25 if field == "score" else (*canary.others_scores[:-1], canary.others_scores[-1] - 0.25)
    assert deviation(canary.model_copy(update={field: moved}), verdict, 1.0) == pytest.approx(0.25, abs=ROUNDING)


def test_the_score_deviates_in_its_own_scale_and_the_others_scores_in_theirs(mos_and_logit_bundle: Bundle) -> None:
    """Of a sum of standardised parts one tolerance is the same share of what in-distribution images differ by."""
    canary, verdict = judged(mos_and_logit_bundle)
    scale = mos_and_logit_bundle.manifest.decision_in_force.score_scale
    assert scale == 1.5
    moved = canary.model_copy(update={"score": canary.score - 0.3})
    assert deviation(moved, verdict, scale) == pytest.approx(0.2, abs=ROUNDING)
    moved = canary.model_copy(update={"others_scores": tuple(p - 0.3 for p in canary.others_scores)})
    assert deviation(moved, verdict, scale) == pytest.approx(0.3, abs=ROUNDING)


async def test_canaries_of_another_statistic_decide_over_readiness(mos_and_logit_bundle: Bundle) -> None:
    """A score of any scale agrees with its export, and is found out when it alone moves."""
    async with watched(mos_and_logit_bundle) as service:
        await service.check()
        assert service.ready
        assert max(service.deviations) <= ROUNDING
        service.engine.change = lambda row: row._replace(score=row.score + 0.03)
        await service.check()
        assert not service.ready
        assert service.deviations[-1] == pytest.approx(0.02, abs=ROUNDING)


def judged(bundle: Bundle) -> tuple[Canary, Verdict]:
    """Return the first canary of *bundle* and the verdict on it."""
    assert bundle.calibration is not None
    canary = bundle.canaries[0]
    [row] = Engine(bundle, provider="cpu").predict(decoded(canary))
    return canary, judge_of(bundle.manifest, bundle.calibration).judge(row)


def decoded(canary: Canary) -> Image:
    return decode(canary.encoded, height=8, width=8)[None]
