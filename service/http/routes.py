"""The routes: each reads a request, asks for what it needs, and answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from service.bundle import Manifest
from service.errors import NotReady
from service.http import openapi, schemas
from service.http.answers import model_card, verdict_document
from service.http.body import Body, BodyLimiter
from service.http.disconnect import CancelOnDisconnect
from service.http.exchange import Exchange, exchange_of
from service.http.form import many_images, one_image
from service.http.problems import problem_document
from service.http.recording import record_prediction, record_problem, record_stage
from service.inference.health import Fault, Health, require_none
from service.inference.pipeline import Prediction
from service.serving.guard import Guard
from service.serving.swap import Swap
from service.verdict import Verdict
from service.watch.metrics import CONTENT_TYPE, Metrics

router = APIRouter()

# Hears of a verdict: the request's id, the picture's place in it, the verdict, and the manifest of the model.
OnVerdict = Callable[[str, int, Verdict, Manifest], None]


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


@router.post(
    "/predict",
    summary="Judge one image",
    response_model=schemas.Verdict,
    responses=openapi.ok(schemas.VERDICT_EXAMPLE, "The verdict")
    | openapi.problems(*openapi.UPLOAD_ERRORS, *openapi.IMAGE_ERRORS),
    openapi_extra=openapi.ONE_IMAGE,
)
async def predict(request: Request) -> Response:
    """Send the image as the raw body, or as the file `file` of a form."""
    serving, exchange = _serving(request), exchange_of(request)
    async with _upload(request, serving, exchange) as upload:
        image = one_image(upload.content, exchange.content_type)
        prediction = await upload.guard.pipeline.predict(image, deadline=upload.deadline)
    verdict = prediction.verdict
    exchange.log_fields |= {
        "version": upload.guard.manifest.version,
        "decision": verdict.decision,
        "decided_by": verdict.decided_by,
        "score": verdict.score,
        "mos": verdict.mos,
    }
    return JSONResponse(_document(prediction, upload.guard, serving, exchange))


@router.post(
    "/predict/batch",
    summary="Judge many images; one bad image fails alone",
    response_model=list[schemas.Verdict | schemas.Problem],
    responses=openapi.ok([schemas.VERDICT_EXAMPLE, schemas.PROBLEM_EXAMPLE], "A verdict or a problem each, in order")
    | openapi.problems(*openapi.UPLOAD_ERRORS),
    openapi_extra=openapi.MANY_IMAGES,
)
async def predict_batch(request: Request) -> Response:
    """Send a form with the images as files `files`; the list has a verdict or a problem for each, in order."""
    serving, exchange = _serving(request), exchange_of(request)
    async with _upload(request, serving, exchange) as upload:
        images = many_images(upload.content, exchange.content_type, serving.max_files)
        pipeline = upload.guard.pipeline
        pipeline.require_room(len(images))
        outcomes = await asyncio.gather(
            *(pipeline.predict(image, deadline=upload.deadline) for image in images), return_exceptions=True
        )
    return JSONResponse(
        [_document(outcome, upload.guard, serving, exchange, index) for index, outcome in enumerate(outcomes)]
    )


@router.get(
    "/health/live",
    summary="Whether the process can still do its work: it runs, and has not lost its engine for good",
    response_model=schemas.Status,
    responses=openapi.ok({"status": "live"}, "It can") | openapi.problems(openapi.ENGINE_LOST),
)
async def live(request: Request) -> Response:
    """Restart the process where this does not answer 200."""
    _serving(request).require_life()
    return JSONResponse({"status": "live"})


@router.get(
    "/health/ready",
    summary="Whether verdicts are given: loaded, calibrated, warmed up, canaries agree, not draining",
    response_model=schemas.Status,
    responses=openapi.ok({"status": "ready"}, "They are") | openapi.problems(openapi.NOT_READY),
)
async def ready(request: Request) -> Response:
    """Send requests only while this answers 200; else the problem says why not."""
    require_none(_serving(request).faults)
    return JSONResponse({"status": "ready"})


@router.get(
    "/model",
    summary="What is served and what decides, with the threshold's guarantee",
    response_model=schemas.ModelCard,
    responses=openapi.ok(openapi.CARD_EXAMPLE, "The model card") | openapi.problems(openapi.UNAUTHORIZED),
)
async def model(request: Request) -> Response:
    """Return the model card of the bundle in service, and where the drift tests stand."""
    guard = _serving(request).swap.guard
    card = model_card(guard.bundle, guard.provider, guard.drift)
    return Response(card.model_dump_json(), media_type="application/json")


@router.get(
    "/metrics",
    summary="Prometheus series",
    response_class=Response,
    responses=openapi.problems(openapi.UNAUTHORIZED)
    | {200: {"description": "Text format", "content": {"text/plain": {"example": openapi.METRICS_EXAMPLE}}}},
)
async def metrics(request: Request) -> Response:
    """Return every series in the Prometheus text format."""
    return Response(_serving(request).metrics.text(), headers={"Content-Type": CONTENT_TYPE})


@dataclass(frozen=True, slots=True)
class _Upload:
    """A body that was read whole, and what judges the images in it, and until when."""

    content: bytes
    guard: Guard
    deadline: float  # seconds of time.monotonic


@asynccontextmanager
async def _upload(request: Request, serving: Serving, exchange: Exchange) -> AsyncIterator[_Upload]:
    """Take the request's body; its bytes count, and the client is waited for, until the block ends.

    Whether there is a verdict to be had is asked first: nobody uploads an image only to hear that the queue is full.
    Which guard judges is settled when the body is there, so that a slow upload does not hold a former one.
    """
    require_none(serving.faults)
    serving.swap.guard.pipeline.require_room()
    with Body(serving.body_limiter) as body:
        content = await body.read(request.receive, exchange.content_length)
        now = time.monotonic()
        record_stage("read", now - exchange.started_at, exchange, serving.metrics)
        guard = serving.swap.guard
        require_none(guard.faults)  # asked again: the body may have taken its time
        with guard.in_use(), CancelOnDisconnect(request.receive):
            yield _Upload(content, guard, now + serving.deadline_seconds)


def _document(
    outcome: Prediction | BaseException, guard: Guard, serving: Serving, exchange: Exchange, index: int = 0
) -> dict[str, Any]:
    """Record what became of image *index* of an exchange, and return its verdict or its problem.

    Raises NotReady for a verdict of a guard that has lost its readiness meanwhile: it is not to be believed.
    """
    if isinstance(outcome, Prediction):
        require_none(guard.faults)
        record_prediction(outcome, guard, exchange, serving.metrics)
        for tell in serving.on_verdict:
            tell(exchange.request_id, index, outcome.verdict, guard.manifest)
        return verdict_document(outcome.verdict, guard.manifest, exchange.request_id)
    if not isinstance(outcome, Exception):
        raise outcome
    record_problem(outcome, exchange, serving.metrics)
    return problem_document(outcome, exchange.request_id)


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving
