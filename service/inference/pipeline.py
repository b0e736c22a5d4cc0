"""The one way from encoded bytes to a verdict, for users and canaries: decode in a thread, batch, run, judge."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.bundle import Calibration, InputSpec, Manifest, judging_of
from service.errors import DeadlineExceeded, NotReady, Overloaded
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.inference.health import Health
from service.inference.load import Load
from service.inference.thread_pool import ThreadPool
from service.preprocess import decode
from service.verdict import Judge, Row, Verdict

Image = NDArray[np.uint8]  # (H, W, 3)


class Prediction(NamedTuple):
    """A verdict and where its time went; pixels take no time to decode."""

    verdict: Verdict
    decode_seconds: float
    queue_seconds: float
    inference_started_at: float  # seconds of time.monotonic
    inference_seconds: float


class Pipeline:
    """Decode threads, a batcher and a judge; at most *max_queue* images are on their way to the engine."""

    def __init__(
        self,
        *,
        input_spec: InputSpec,
        max_pixels: int,
        decode_threads: int,
        max_queue: int,
        batcher: Batcher[Image, Row],
        judge: Judge,
        load: Load,
    ) -> None:
        self._decoders: ThreadPool[bytes, Image] = ThreadPool(
            partial(
                decode,
                height=input_spec.height,
                width=input_spec.width,
                jpeg_scale=input_spec.jpeg_scale,
                max_pixels=max_pixels,
            ),
            threads=decode_threads,
            name="decode",
        )
        self._max_queue = max_queue
        self._batcher = batcher
        self._judge = judge
        self._load = load

    def start(self) -> None:
        """Start the threads; the running event loop is the one that callers must use."""
        self._decoders.start()
        self._batcher.start()

    @property
    def depth(self) -> int:
        """The number of images that are being decoded or wait for the engine."""
        return self._load.decoding + self._batcher.depth

    @property
    def running_seconds(self) -> float:
        """For how long the engine has been at the batch that it runs now; 0 where it runs none."""
        return self._batcher.running_seconds

    def require_room(self, images: int = 1) -> None:
        """Raise Overloaded unless *images* more may wait."""
        depth = self.depth
        if depth + images > self._max_queue:
            retry_after_seconds = self._batcher.seconds_to_clear(depth)
            raise Overloaded("The queue is full; try again later.", retry_after_seconds=retry_after_seconds)

    async def predict(self, image: bytes | Image, *, deadline: float, caller: object = None) -> Prediction:
        """Return the verdict on one image; *deadline* is in seconds of `time.monotonic`.

        The image is encoded, or already the pixels that the model takes, uint8 (H, W, 3). Whoever hears of its batch
        hears of *caller*.

        Raises InputError for the image's own faults, Overloaded, DeadlineExceeded, NotReady and ModelOutputError.
        """
        self.require_room()
        with self._load:
            async with _until(deadline):
                started_at = time.monotonic()
                pixels = await self._decoded(image) if isinstance(image, bytes) else image
                decode_seconds = time.monotonic() - started_at
                reply = await self._batcher.submit(pixels, deadline=deadline, caller=caller)
        return Prediction(
            self._judge.judge(reply.value), decode_seconds, reply.queue_seconds, reply.run_started_at, reply.run_seconds
        )

    async def predict_together(self, encoded: Sequence[bytes], *, deadline: float) -> list[Verdict]:
        """Return the verdicts on images that go to the engine side by side, in one batch where it holds them all.

        They are let in though there is no room. Raises what `predict` does, but for Overloaded.
        """
        self._load.images += len(encoded)
        try:
            async with _until(deadline):
                images = await asyncio.gather(*map(self._decoded, encoded))
                replies = await asyncio.gather(*(self._batcher.submit(image, deadline=deadline) for image in images))
        finally:
            self._load.images -= len(encoded)
        return [self._judge.judge(reply.value) for reply in replies]

    async def _decoded(self, encoded: bytes) -> Image:
        self._load.decoding += 1
        try:
            return await self._decoders.run(encoded)
        finally:
            self._load.decoding -= 1

    async def drain(self) -> None:
        """Answer all that was accepted and end the threads."""
        await self._batcher.drain()
        self._decoders.stop()


@asynccontextmanager
async def _until(deadline: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("The deadline passed before the answer was there; try again later.") from error


def run_engine(engine: Engine, health: Health, load: Load, images: Sequence[Image]) -> list[Row]:
    """Run one batch in an engine thread; a failure of the engine takes the service out of ready at once."""
    try:
        return engine.predict(images, alone=load.images <= len(images))
    except NotReady:
        health.fail("engine")
        raise


def judge_of(manifest: Manifest, calibration: Calibration) -> Judge:
    """Return the judge of a calibrated bundle; verdict.py itself knows plain data only."""
    return Judge(**judging_of(manifest, calibration))
