"""What every route that judges images shares, in whichever protocol: an upload that is taken, and verdicts recorded."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from service.bundle import Manifest
from service.errors import NotReady, UnsupportedFormat
from service.http.body import Body, BodyLimiter
from service.http.disconnect import CancelOnDisconnect
from service.http.exchange import Exchange
from service.http.recording import record_prediction, record_stage
from service.inference.health import Fault, Health, require_none
from service.inference.pipeline import Image, Prediction
from service.serving.guard import Guard
from service.serving.swap import Swap
from service.verdict import Verdict
from service.watch.metrics import Metrics


class OnVerdict(Protocol):
    """Hears of each verdict that is given to a caller."""

    def __call__(
        self, request_id: str, index: int, verdict: Verdict, manifest: Manifest, *, trace_id: str | None
    ) -> None:
        """Take the verdict on picture *index* of a request, given by the model of *manifest*."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes work with, built once at start-up; which bundle judges is asked of *swap* each time."""

    swap: Swap
    health: Health  # of the process
    metrics: Metrics
    body_limiter: BodyLimiter
    deadline_seconds: float
    engine_grace_seconds: float
    max_files: int
    on_verdict: Sequence[OnVerdict]

    @property
    def faults(self) -> Set[Fault]:
        """All that speaks against giving a verdict now."""
        return self.health.faults | self.swap.guard.faults

    def require_life(self) -> None:
        """Raise NotReady where only another start can help: the engine is lost, and has had its time to come back.

        A process that ends anyway is left to answer what it accepted.
        """
        lost_seconds = self.swap.guard.engine_lost_seconds
        if lost_seconds > self.engine_grace_seconds and not self.health.draining:
            raise NotReady(f"The engine has failed or hung for {lost_seconds:.0f} s; restart the service.")


def serving_of(request: Request) -> Serving:
    """Return what the application works with."""
    serving: Serving = request.app.state.serving
    return serving


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that was read whole, and what judges the images in it, and until when."""

    content: bytes
    guard: Guard
    deadline: float  # seconds of time.monotonic
    caller: object  # whom the batches are told that they ran for

    async def judge(self, image: bytes | Image) -> Prediction:
        """Return the verdict on one image, encoded or as pixels. Raises what `Pipeline.predict` does."""
        return await self.guard.pipeline.predict(image, deadline=self.deadline, caller=self.caller)

    async def judge_all(self, images: Sequence[bytes | Image]) -> list[Prediction | BaseException]:
        """Return what becomes of each image, in order; raises Overloaded unless there is room for all of them."""
        self.guard.pipeline.require_room(len(images))
        return await asyncio.gather(*map(self.judge, images), return_exceptions=True)


@asynccontextmanager
async def take_upload(request: Request, serving: Serving, exchange: Exchange) -> AsyncIterator[Upload]:
    """Take the request's body; its bytes count, and the client is waited for, until the block ends.

    Whether there is a verdict to be had is asked first: nobody uploads an image only to hear that the queue is full.
    Which guard judges is settled when the body is there, so that a slow upload does not hold a former one.
    """
    require_none(serving.faults)
    serving.swap.guard.pipeline.require_room()
    if exchange.content_encoding.lower() not in (b"", b"identity"):
        raise UnsupportedFormat("The body is compressed, as its Content-Encoding says; send it uncompressed.")
    with Body(serving.body_limiter) as body:
        content = await body.read(request.receive, exchange.content_length)
        now = time.monotonic()
        record_stage("read", exchange.started_at, now - exchange.started_at, exchange, serving.metrics)
        guard = serving.swap.guard
        require_none(guard.faults)  # asked again: the body may have taken its time
        with guard.in_use(), CancelOnDisconnect(request.receive):
            yield Upload(content, guard, now + serving.deadline_seconds, exchange.span)


def record_verdict(prediction: Prediction, guard: Guard, serving: Serving, exchange: Exchange, index: int = 0) -> None:
    """Record that the verdict on image *index* of an exchange is given to its caller.

    Raises NotReady where *guard* has lost its readiness meanwhile: its verdict is not to be believed.
    """
    require_none(guard.faults)
    record_prediction(prediction, guard, exchange, serving.metrics, index)
    trace_id = None if exchange.trace is None else exchange.trace.trace_id
    for tell in serving.on_verdict:
        tell(exchange.request_id, index, prediction.verdict, guard.manifest, trace_id=trace_id)


def log_verdict(verdict: Verdict, manifest: Manifest, exchange: Exchange) -> None:
    """Have the line of an exchange about one image say what was decided."""
    exchange.log_fields |= {
        "version": manifest.version,
        "decision": verdict.decision,
        "decided_by": verdict.decided_by,
        "score": verdict.score,
        "mos": verdict.mos,
    }
