"""Faults of a serving process, each put in where it would happen: the first check after it takes readiness away.

The whole application runs, on the tiny bundle where the fault is in the session and on the shipped one where it is in
the preprocessing. A check counts only if it began after the fault, so none of these tests rests on a time.
"""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from service import preprocess
from service.bundle import Bundle, read_bundle
from service.inference import canaries, engine
from service.inference.batcher import Batcher
from service.inference.engine.runs import CoreRuns
from service.settings import DEFAULT_BUNDLE
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import png, write_tiny_bundle

pytestmark = pytest.mark.numeric

RED, BLUE, GREY, BLACK = png((235, 20, 20)), png((20, 20, 235)), png((128, 128, 128)), png((0, 0, 0))
INTERVAL_SECONDS = 0.02
TOLERANCE = 0.01  # of the canaries, as it ships

Outputs = list[NDArray[Any]]  # (N, ...) each


class Run(NamedTuple):
    """One run of a session: what it would give, for how many images, and what the last run of as many gave."""

    outputs: Callable[[], Outputs]
    images: int
    previous: Outputs


Fault = Callable[[Run], Outputs]


class Session:
    """A bundle's session that obeys a fault; without one it is the real one. It may say that it is on a GPU."""

    def __init__(self, session: Any, provider: str) -> None:
        self._session = session
        self.fault: Fault | None = None
        self.provider = provider
        self.batch_sizes: list[int] = []
        self._previous: dict[int, Outputs] = {}  # by the number of images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [self.provider]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return []

    def run(self, names: list[str], feed: dict[str, NDArray[np.uint8]]) -> Outputs:
        self.batch_sizes.append(len(feed["images"]))
        images = len(feed["images"])
        run = Run(partial(self._session.run, names, feed), images, self._previous.get(images, []))
        self._previous[images] = run.outputs() if self.fault is None else self.fault(run)
        return self._previous[images]


class Watch:
    """A running application, its session, its batcher, and the checks of its canaries as they begin and end."""

    def __init__(self, running: RunningApp, session: Session, batcher: Batcher[Any, Any], checks: list[int]) -> None:
        self.running, self.session, self._batcher, self._checks = running, session, batcher, checks

    async def next_check(self) -> None:
        """Wait for the end of the first check that begins from now on."""
        began, _ = self._checks
        async with asyncio.timeout(60):
            while self._checks[1] <= began:  # noqa: ASYNC110  checks end in their order
                await asyncio.sleep(0.001)

    async def is_ready(self) -> bool:
        """Say what a prober hears, which is what the gauge says too."""
        status = (await self.running.client.get("/health/ready")).status_code
        assert status in (200, 503)
        assert self.running.sample("mos_ready") == (status == 200)
        return status == 200

    async def post(self, picture: bytes) -> httpx.Response:
        return await self.running.client.post("/predict", content=picture)

    async def wait_for_queue(self, images: int) -> None:
        """Wait until *images* are decoded and wait for the engine."""
        async with asyncio.timeout(60):
            while self._batcher.depth != images:  # noqa: ASYNC110  nobody is told when an image is decoded
                await asyncio.sleep(0.001)


Start = Callable[..., Any]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run the application with a session that a test can spoil and with checks that it can wait for."""
    sessions: list[Session] = []
    batchers: list[Batcher[Any, Any]] = []
    checks = [0, 0]  # begun, ended
    make, check, start_batcher = engine.open_session, canaries.CanaryChecks.check, Batcher.start

    def spoilable(bundle: Bundle, provider: Any, **options: Any) -> Session:
        session = Session(make(bundle, "cpu", **options), engine.RUNTIME_NAMES[provider])
        sessions.append(session)
        return session

    def plain(session: Session, provider: Any, outputs: Any, **options: Any) -> CoreRuns:
        return CoreRuns(session, outputs)

    async def counted(self: canaries.CanaryChecks) -> float:
        checks[0] += 1
        try:
            return await check(self)
        finally:
            checks[1] += 1

    def noted(self: Batcher[Any, Any]) -> None:
        batchers.append(self)
        start_batcher(self)

    monkeypatch.setattr(engine, "open_session", spoilable)
    monkeypatch.setattr(engine, "runs_on", plain)
    monkeypatch.setattr(Batcher, "start", noted)
    monkeypatch.setattr(canaries.CanaryChecks, "check", counted)

    @asynccontextmanager
    async def start(bundle: Path, **settings: object) -> AsyncIterator[Watch]:
        async with running_app(
            bundle, **{"canary_interval_seconds": INTERVAL_SECONDS, "intra_op_threads": 1} | settings
        ) as running:
            await running.until_ready()
            yield Watch(running, sessions[-1], batchers[-1], checks)

    return start


# --- Faults of the session ---


def dead(run: Run) -> Outputs:
    raise RuntimeError("CUDA error 700: an illegal memory access was encountered")


def without_memory(run: Run) -> Outputs:
    """ONNX Runtime itself finds no memory, here for a tensor larger than what a process can address."""
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [1])
    values = helper.make_tensor_value_info("values", TensorProto.FLOAT, [None])
    graph = helper.make_graph([helper.make_node("ConstantOfShape", ["shape"], ["values"])], "vast", [shape], [values])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: Outputs = session.run(None, {"shape": np.array([2**46])})
    return outputs


def nan_in_the_first_row(run: Run) -> Outputs:
    outputs = run.outputs()
    for output in outputs:
        if output.dtype == np.float32:
            output[0] = np.nan
    return outputs


class PreviousBatch:
    """Every run gives the outputs of the one before."""

    def __init__(self) -> None:
        self._own: Outputs | None = None

    def __call__(self, run: Run) -> Outputs:
        stale = run.previous if self._own is None else self._own
        self._own = run.outputs()
        return stale


def shifted_by_one(run: Run) -> Outputs:
    """Every image of a batch gets its neighbour's row."""
    return [np.roll(output, 1, axis=0) for output in run.outputs()]


def nan_in_the_last_of_many(run: Run) -> Outputs:
    outputs = run.outputs()
    for output in outputs:
        if output.dtype == np.float32 and run.images > 1:
            output[-1] = np.nan
    return outputs


def constant(run: Run) -> Outputs:
    """Every row is the first one of the run before, and so the same one from then on."""
    return [np.repeat(output[:1], run.images, axis=0) for output in run.previous]


@pytest.mark.parametrize(
    ("fault", "log", "deviation"),
    [
        (dead, "could not be judged", None),
        (nan_in_the_first_row, "could not be judged", None),
        (PreviousBatch(), "deviate by inf", math.inf),
        (constant, "deviate by inf", math.inf),
        (shifted_by_one, "deviate by inf", math.inf),
        (nan_in_the_last_of_many, "could not be judged", None),
    ],
    ids=["dead", "NaN", "another batch's rows", "a constant", "rows shifted by one", "NaN in the last row of many"],
)
async def test_a_fault_of_the_session_is_seen_by_the_next_check(
    watched: Start,
    tiny_bundle: Bundle,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    log: str,
    deviation: float | None,
) -> None:
    """Readiness is gone after one check and back after one more once the fault is gone; gauge and log say why."""
    async with watched(tiny_bundle.path) as watch:
        caplog.clear()
        watch.session.fault = fault
        await watch.next_check()
        assert not await watch.is_ready()
        assert (await watch.post(RED)).status_code == 503
        if deviation is not None:
            assert watch.running.sample("mos_canary_deviation") == deviation
        assert log in caplog.text
        watch.session.fault = None
        await watch.next_check()
        assert await watch.is_ready()
        assert (await watch.post(RED)).json()["decision"] == "in"


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (dead, (503, "not_ready")),
        (without_memory, (503, "not_ready")),
        (nan_in_the_first_row, (500, "model_output")),
    ],
    ids=["dead", "without memory", "NaN"],
)
async def test_a_dead_session_or_nan_is_no_verdict_before_it_is_seen(
    watched: Start, tiny_bundle: Bundle, fault: Fault, answer: tuple[int, str]
) -> None:
    """A caller between the fault and the next check hears of an error, and a failed run ends readiness at once."""
    async with watched(tiny_bundle.path, canary_interval_seconds=3600) as watch:
        watch.session.fault = fault
        response = await watch.post(RED)
        assert (response.status_code, response.json()["code"]) == answer
        assert await watch.is_ready() == (fault is nan_in_the_first_row)


# --- One row of a batch ---


class Held:
    """A fault that holds every run back until it is released, so that a test decides what shares a batch."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, run: Run) -> Outputs:
        self.entered.set()
        assert self.released.wait(timeout=60), "the test never released the session"
        return run.outputs()


@asynccontextmanager
async def one_batch(watch: Watch) -> AsyncIterator[None]:
    """Hold the session with a picture of its own; what is sent inside waits and becomes one batch at the end."""
    watch.session.fault = held = Held()
    blocker = asyncio.create_task(watch.post(GREY))
    try:
        await asyncio.to_thread(held.entered.wait, 60)
        yield
    finally:
        held.released.set()
        watch.session.fault = None
        await blocker


async def test_nan_fails_its_own_caller_alone(watched: Start, tmp_path: Path) -> None:
    """Of a batch with one picture that the model answers with NaN, every other caller has its verdict."""
    bundle = write_tiny_bundle(tmp_path / "bundle", nan_on_black=True)
    pictures = [RED, BLUE, BLACK, RED, GREY]
    async with watched(bundle.path, canary_interval_seconds=3600, max_wait_ms=60_000) as watch:
        async with one_batch(watch):
            tasks = [asyncio.create_task(watch.post(picture)) for picture in pictures]
            await watch.wait_for_queue(len(pictures))
        responses = await asyncio.gather(*tasks)
        assert watch.session.batch_sizes[-1] == len(pictures)
        assert [response.status_code for response in responses] == [200, 200, 500, 200, 200]
        assert responses[2].json()["code"] == "model_output"
        assert [responses[i].json()["label"] for i in (0, 1, 3)] == ["red", "blue", "red"]
        assert watch.running.sample("mos_rejected_total", reason="model_output") == 1
        assert await watch.is_ready()


async def test_nan_fails_its_own_item_of_a_batch_request_alone(watched: Start, tmp_path: Path) -> None:
    """Among many pictures of one request, too, the one without an answer is a problem and the others are verdicts."""
    bundle = write_tiny_bundle(tmp_path / "bundle", nan_on_black=True)
    pictures = [BLACK, RED, BLUE, BLACK]
    async with watched(bundle.path, canary_interval_seconds=3600, max_wait_ms=60_000) as watch:
        async with one_batch(watch):
            files = [("files", ("picture", picture)) for picture in pictures]
            task = asyncio.create_task(watch.running.client.post("/predict/batch", files=files))
            await watch.wait_for_queue(len(pictures))
        items = (await task).json()
        assert watch.session.batch_sizes[-1] == len(pictures)
        assert [item.get("code") or item["label"] for item in items] == ["model_output", "red", "blue", "model_output"]


# --- Providers ---


async def test_a_provider_that_fell_back_is_seen_at_once_and_by_the_next_check(
    watched: Start, tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """Though its answers are right, nobody gets them: callers hear 503, probers too, and the log names the provider."""
    async with watched(tiny_bundle.path, provider="cuda") as watch:
        assert watch.running.sample("mos_ready") == 1
        watch.session.provider = "CPUExecutionProvider"
        assert (await watch.post(RED)).status_code == 503
        await watch.next_check()
        assert not await watch.is_ready()
        assert "no longer runs the model on cuda" in caplog.text


async def test_a_provider_that_fell_back_answers_nobody_before_the_next_check(
    watched: Start, tiny_bundle: Bundle
) -> None:
    """The first caller's run finds it out, and takes readiness away without a canary."""
    async with watched(tiny_bundle.path, provider="cuda", canary_interval_seconds=3600) as watch:
        watch.session.provider = "CPUExecutionProvider"
        response = await watch.post(RED)
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert not await watch.is_ready()


# --- The preprocessing, under the canaries that ship ---

Squash = Callable[..., NDArray[np.uint8]]


def filtered(kind: Image.Resampling) -> Squash:
    return lambda image, *, height, width: np.asarray(image.convert("RGB").resize((width, height), kind))


def without_antialias(image: Image.Image, *, height: int, width: int) -> NDArray[np.uint8]:
    steps = (image.width / width, 0, 0, 0, image.height / height, 0)
    picture = image.convert("RGB")
    return np.asarray(picture.transform((width, height), Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR))


def cropped(image: Image.Image, *, height: int, width: int) -> NDArray[np.uint8]:
    side = min(image.size)
    left, upper = (image.width - side) // 2, (image.height - side) // 2
    return right_squash(image.crop((left, upper, left + side, upper + side)), height=height, width=width)


def blue_first(image: Image.Image, *, height: int, width: int) -> NDArray[np.uint8]:
    return right_squash(image, height=height, width=width)[:, :, ::-1]


def not_normalised(image: Image.Image, *, height: int, width: int) -> NDArray[np.uint8]:
    """Fractions where levels should be, as one gets who divides by 255 before the graph does."""
    return right_squash(image, height=height, width=width) // 255


def over_black(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return right_without_alpha(image)
    black = Image.new("RGB", image.size)
    black.paste(image, mask=image)
    return black


right_squash, right_without_alpha = preprocess.squash, preprocess._without_alpha

WRONG_RULES: dict[str, tuple[str, Callable[..., Any]]] = {
    "NEAREST": ("squash", filtered(Image.Resampling.NEAREST)),
    "BOX": ("squash", filtered(Image.Resampling.BOX)),
    "HAMMING": ("squash", filtered(Image.Resampling.HAMMING)),
    "BICUBIC": ("squash", filtered(Image.Resampling.BICUBIC)),
    "LANCZOS": ("squash", filtered(Image.Resampling.LANCZOS)),
    "bilinear without antialias": ("squash", without_antialias),
    "a crop": ("squash", cropped),
    "blue first": ("squash", blue_first),
    "no normalisation": ("squash", not_normalised),
    "EXIF ignored": ("_upright", lambda image: image),
    "alpha over black": ("_without_alpha", over_black),
    "alpha dropped": ("_without_alpha", lambda image: image.convert("RGB")),
}


@pytest.mark.parametrize("rule", WRONG_RULES)
async def test_a_wrong_rule_of_the_preprocessing_is_seen_by_the_next_check(
    watched: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rule: str
) -> None:
    """The shipped canaries move by more than twice the tolerance, and are back when the rule is."""
    name, wrong = WRONG_RULES[rule]
    right = getattr(preprocess, name)
    async with watched(DEFAULT_BUNDLE, intra_op_threads=1) as watch:
        assert watch.running.sample("mos_canary_deviation") < TOLERANCE / 10
        monkeypatch.setattr(preprocess, name, wrong)
        await watch.next_check()
        assert not await watch.is_ready()
        assert watch.running.sample("mos_canary_deviation") > 2 * TOLERANCE
        assert "The canaries deviate by" in caplog.text
        monkeypatch.setattr(preprocess, name, right)
        await watch.next_check()
        assert await watch.is_ready()


def test_no_shipped_canary_passes_for_another() -> None:
    """Rows that are dealt to the wrong pictures would else go unseen."""
    shipped: Sequence[Any] = read_bundle(DEFAULT_BUNDLE).canaries
    assert len({canary.class_index for canary in shipped}) == len(shipped) >= 3


def test_no_shipped_canary_is_near_a_border_of_its_class() -> None:
    """Rounding, which differs between machines, must not end readiness: the class leads by twice the tolerance."""
    bundle = read_bundle(DEFAULT_BUNDLE)
    spec = bundle.manifest.input
    read = partial(preprocess.decode, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale)
    pictures = np.stack([read(one.encoded) for one in bundle.canaries])
    for row in engine.Engine(bundle, provider="cpu", intra_op_threads=1).predict(pictures):
        assert row.topk_probability[0] - row.topk_probability[1] > 2 * TOLERANCE


# --- A session that never returns ---


async def test_a_session_that_hangs_is_seen_by_the_deadline_of_the_next_check(
    watched: Start, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A canary waits for its deadline and no longer; callers hear 504, then 503, and a run that ends is forgiven."""
    monkeypatch.setattr(canaries, "DEADLINE_SECONDS", 0.2)
    async with watched(tiny_bundle.path, deadline_ms=200) as watch:
        caplog.clear()
        watch.session.fault = held = Held()
        await asyncio.to_thread(held.entered.wait, 60)  # the next check begins with a canary in the session
        assert (await watch.post(RED)).status_code in (503, 504)
        await watch.next_check()
        assert not await watch.is_ready()
        assert (await watch.post(RED)).status_code == 503
        assert [record.exc_info[0].__name__ for record in failures(caplog)][:1] == ["DeadlineExceeded"]
        watch.session.fault = None
        held.released.set()
        await watch.next_check()
        assert await watch.is_ready()


async def test_a_session_that_hangs_is_seen_though_the_queue_is_full(
    watched: Start, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canaries have places of their own: callers that wait in vain, and are refused, do not hide what is wrong."""
    monkeypatch.setattr(canaries, "DEADLINE_SECONDS", 0.2)
    async with watched(tiny_bundle.path, max_queue=2, max_batch_size=1, canary_interval_seconds=0.2) as watch:
        await watch.next_check()
        watch.session.fault = held = Held()
        waiting = [asyncio.create_task(watch.post(RED))]
        await asyncio.to_thread(held.entered.wait, 60)
        waiting += [asyncio.create_task(watch.post(RED)) for _ in range(2)]
        await watch.next_check()
        assert not await watch.is_ready()
        watch.session.fault = None
        held.released.set()
        await asyncio.gather(*waiting)
        await watch.next_check()
        assert await watch.is_ready()


def failures(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Return what the canaries logged as errors, each with its exception."""
    return [one for one in caplog.records if one.name == canaries.__name__ and one.levelno == logging.ERROR]
