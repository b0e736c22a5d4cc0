"""One way for every image: bounded, within its deadline, and with the verdict of its own pixels."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from service.bundle import Bundle, GroupThreshold
from service.errors import CorruptImage, DeadlineExceeded, NotReady, Overloaded
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.inference.health import Health
from service.inference.load import Load
from service.inference.pipeline import Image, Pipeline, judge_of, run_engine
from service.verdict import Row
from tests.tiny_bundle import png

COLORS = {"red": (235, 20, 20), "blue": (20, 20, 235), "green": (20, 235, 20), "white": (250, 250, 250)}


class HeldEngine:
    """The real engine behind a gate."""

    def __init__(self, bundle: Bundle) -> None:
        self._engine = Engine(bundle, provider="cpu")
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, images: Sequence[Image]) -> list[Row]:
        assert self.gate.wait(timeout=30)
        return run_engine(self._engine, Health(), Load(), images)


@pytest.fixture
def engine(tiny_bundle: Bundle) -> Iterator[HeldEngine]:
    engine = HeldEngine(tiny_bundle)
    yield engine
    engine.gate.set()


def pipeline_of(bundle: Bundle, engine: HeldEngine, max_queue: int = 100, load: Load | None = None) -> Pipeline:
    assert bundle.calibration is not None
    batcher: Batcher[Image, Row] = Batcher(engine, max_batch_size=4, max_wait_seconds=0.001, max_queue=max_queue)
    pipeline = Pipeline(
        input_spec=bundle.manifest.input,
        max_pixels=1_000_000,
        decode_threads=2,
        max_queue=max_queue,
        batcher=batcher,
        judge=judge_of(bundle.manifest, bundle.calibration),
        load=load or Load(),
    )
    pipeline.start()
    return pipeline


def soon() -> float:
    return time.monotonic() + 30


async def test_each_image_gets_its_own_verdict(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """Many at a time, in any batches: each caller hears of its own picture."""
    pipeline = pipeline_of(tiny_bundle, engine)
    labels = [name for name in COLORS for _ in range(10)]
    outcomes = await asyncio.gather(*(pipeline.predict(png(COLORS[name]), deadline=soon()) for name in labels))
    assert [outcome.verdict.label for outcome in outcomes] == labels
    assert pipeline.depth == 0
    await pipeline.drain()


async def test_the_threshold_of_a_predicted_group_decides(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """One group is turned away by its own, which is answered; the others keep that of all."""
    assert tiny_bundle.calibration is not None
    strict = GroupThreshold(group="cool", threshold=1.0, n=60, k=1, tpr_interval=(0.9, 1.0))
    grouped = tiny_bundle.calibration.model_copy(update={"group_thresholds": [strict]})
    pipeline = pipeline_of(replace(tiny_bundle, calibration=grouped), engine)
    outcomes = [(await pipeline.predict(png(COLORS[name]), deadline=soon())).verdict for name in ("red", "blue")]
    assert [(verdict.group, verdict.decision, verdict.threshold) for verdict in outcomes] == [
        ("warm", "in", tiny_bundle.calibration.threshold),
        ("cool", "out", 1.0),
    ]
    await pipeline.drain()


async def test_a_bad_image_costs_nobody_else(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """A picture that cannot be decoded fails alone and gives its place back."""
    pipeline = pipeline_of(tiny_bundle, engine)
    whole = png(COLORS["red"])
    outcomes = await asyncio.gather(
        *(pipeline.predict(encoded, deadline=soon()) for encoded in (whole, whole[:-30], whole)), return_exceptions=True
    )
    assert isinstance(outcomes[1], CorruptImage)
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[::2])
    assert pipeline.depth == 0
    await pipeline.drain()


async def test_more_images_than_the_queue_holds_are_refused(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """However many come at one time, max_queue are taken beside those that run; the rest hear when to come back."""
    pipeline = pipeline_of(tiny_bundle, engine, max_queue=5)
    engine.gate.clear()
    tasks = [asyncio.create_task(pipeline.predict(png(COLORS["red"]), deadline=soon())) for _ in range(50)]
    await asyncio.sleep(0)
    assert pipeline.depth == 5  # the others were refused before they cost a decode
    await asyncio.wait(tasks, timeout=0.5)
    refused = [task.exception() for task in tasks if task.done()]
    assert len(refused) >= 50 - 5 - 4
    assert all(isinstance(error, Overloaded) and error.retry_after_seconds > 0 for error in refused)
    with pytest.raises(Overloaded):
        pipeline.require_room(6)
    engine.gate.set()
    answered = [task for task in tasks if task not in [t for t in tasks if t.done() and t.exception()]]
    assert {(await task).verdict.label for task in answered} == {"red"}
    await pipeline.drain()


async def test_the_deadline_holds_while_the_engine_hangs(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """Nobody waits longer for an engine that does not come back, and the places are free again."""
    pipeline = pipeline_of(tiny_bundle, engine)
    engine.gate.clear()
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await pipeline.predict(png(COLORS["red"]), deadline=time.monotonic() + 0.05)
    assert pipeline.depth == 0
    engine.gate.set()
    assert (await pipeline.predict(png(COLORS["blue"]), deadline=soon())).verdict.label == "blue"
    await pipeline.drain()


async def test_a_passed_deadline_is_no_verdict(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """An image whose time is over before it began is an error."""
    pipeline = pipeline_of(tiny_bundle, engine)
    with pytest.raises(DeadlineExceeded):
        await pipeline.predict(png(COLORS["red"]), deadline=time.monotonic() - 1)
    await pipeline.drain()


async def test_a_cancelled_caller_gives_its_place_back(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """In the decoder or in the queue, a caller that leaves takes its image with it."""
    pipeline = pipeline_of(tiny_bundle, engine, max_queue=10)
    engine.gate.clear()
    tasks = [asyncio.create_task(pipeline.predict(png(COLORS["red"]), deadline=soon())) for _ in range(10)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert pipeline.depth <= 6, "of ten places four at least are free again"
    engine.gate.set()
    await pipeline.drain()


class BrokenEngine:
    def predict(self, images: object, *, alone: bool) -> list[Row]:
        raise NotReady("ONNX Runtime could not run the model.")


class Told:
    """An engine that notes whether its images were said to be alone."""

    def __init__(self) -> None:
        self.alone: list[bool] = []

    def predict(self, images: object, *, alone: bool) -> list[Row]:
        self.alone.append(alone)
        return []


def test_the_engine_hears_whether_other_images_are_in_hand() -> None:
    """What one image alone may take, others would need: those that are being decoded too."""
    load, told = Load(), Told()
    engine: Engine = told  # type: ignore[assignment]
    image = np.zeros((8, 8, 3), np.uint8)
    with load:
        run_engine(engine, Health(), load, [image])
        with load:
            run_engine(engine, Health(), load, [image])
            run_engine(engine, Health(), load, [image, image])
    assert told.alone == [True, False, True]


async def test_an_image_is_in_hand_until_it_is_answered(tiny_bundle: Bundle, engine: HeldEngine) -> None:
    """One that is refused, cancelled or damaged is so no longer."""
    load = Load()
    pipeline = pipeline_of(tiny_bundle, engine, load=load)
    engine.gate.clear()
    answered, cancelled = (asyncio.create_task(pipeline.predict(png("red"), deadline=soon())) for _ in range(2))
    with pytest.raises(CorruptImage):
        await pipeline.predict(png("red")[:60], deadline=soon())
    assert load.images == 2
    cancelled.cancel()
    engine.gate.set()
    await asyncio.wait([answered, cancelled])
    assert load.images == 0
    await pipeline.drain()


def test_a_failure_of_the_engine_ends_readiness_at_once() -> None:
    """The next request is refused before it costs anything."""
    health = Health()
    engine: Engine = BrokenEngine()  # type: ignore[assignment]
    with pytest.raises(NotReady):
        run_engine(engine, health, Load(), [np.zeros((8, 8, 3), np.uint8)])
    assert health.faults == {"engine"}
