"""The routes, and the one table from errors to statuses."""

import asyncio
import json
import logging
import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service import errors
from service.bundle import Manifest
from service.http import openapi, schemas
from service.http.body import Bodies, Body
from service.http.disconnect import CancelOnDisconnect
from service.http.exchange import OPEN_ROUTES, Trace, trace_of
from service.http.form import many_images, one_image
from service.inference.health import Health
from service.inference.pipeline import Outcome, Pipeline
from service.verdict import Verdict
from service.watch.metrics import CONTENT_TYPE, Metrics

# A service that is not ready may be so at the next check of its canaries.
NOT_READY_RETRY_SECONDS = 5

_log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """What a kind of error is called outside; `code` is stable."""

    status: int
    code: str
    title: str
    sentence: str = ""  # where the error's own text must not, or cannot, be shown


# The most special class of an error decides.
PROBLEMS: dict[type[Exception], Problem] = {
    errors.EmptyBody: Problem(400, "empty_body", "No image"),
    errors.MalformedBody: Problem(400, "malformed_body", "Malformed body"),
    errors.CorruptImage: Problem(400, "corrupt_image", "Corrupt image"),
    errors.Unauthorized: Problem(401, "unauthorized", "Key missing or wrong"),
    errors.BodyTimeout: Problem(408, "body_timeout", "Body too slow"),
    errors.BodyTooLarge: Problem(413, "body_too_large", "Body too large"),
    errors.TooManyPixels: Problem(413, "too_many_pixels", "Too many pixels"),
    errors.UnsupportedFormat: Problem(415, "unsupported_format", "Unsupported format"),
    errors.WrongFields: Problem(422, "wrong_fields", "Wrong fields"),
    RequestValidationError: Problem(422, "wrong_fields", "Wrong fields", "The request's fields have a wrong shape."),
    errors.Overloaded: Problem(429, "overloaded", "Queue full"),
    ClientDisconnect: Problem(499, "client_gone", "Client gone", "The client left before its answer."),
    errors.ModelOutputError: Problem(
        500, "model_output", "Model failure", "The model gave no valid answer for this image; no decision can be made."
    ),
    Exception: Problem(500, "internal", "Internal error", "The service failed; the log has the request's id."),
    errors.NotReady: Problem(503, "not_ready", "Not ready"),
    errors.DeadlineExceeded: Problem(504, "deadline_exceeded", "Deadline passed"),
}
# The framework's own refusals come as one class with a status.
HTTP_PROBLEMS: dict[int, Problem] = {
    400: Problem(400, "bad_request", "Bad request", "The request is not valid HTTP/1.1."),
    404: Problem(404, "not_found", "Not found", "There is nothing at this path; /docs lists what there is."),
    405: Problem(405, "method_not_allowed", "Method not allowed", "The header Allow lists this path's methods."),
}


def problem_of(error: Exception) -> Problem:
    """Return the row of the table that *error* falls under."""
    if isinstance(error, HTTPException) and error.status_code in HTTP_PROBLEMS:
        return HTTP_PROBLEMS[error.status_code]
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def problem_document(error: Exception, request_id: str) -> dict[str, Any]:
    """Return *error* as RFC 9457 problem details."""
    problem = problem_of(error)
    return {
        "type": f"urn:mos-guard:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.sentence or str(error),
        "code": problem.code,
        "request_id": request_id,
    }


def problem_response(error: Exception, trace: Trace, metrics: Metrics) -> Response:
    """Answer a request with *error*, count it, and log what nobody outside may see."""
    problem = problem_of(error)
    trace.facts["code"] = problem.code
    if trace.route not in OPEN_ROUTES:  # a probe that hears that it is too early was refused nothing
        metrics.rejected(problem.code)
    if problem.status == 500:
        _log.error("%s", problem.title, exc_info=error, extra={"fields": {"request_id": trace.request_id}})
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, errors.Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif isinstance(error, errors.NotReady):
        headers["Retry-After"] = str(NOT_READY_RETRY_SECONDS)
    elif isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="mos-guard"'
    return _json(problem_document(error, trace.request_id), problem.status, headers, "application/problem+json")


@dataclass(frozen=True, slots=True)
class Serving:
    """What the routes work with, built once at start-up."""

    manifest: Manifest
    card: bytes
    health: Health
    metrics: Metrics
    bodies: Bodies
    pipeline: Pipeline | None  # None where the bundle is not calibrated
    deadline_seconds: float
    max_files: int

    def ready_pipeline(self) -> Pipeline:
        """Return the pipeline; raises NotReady while no verdict may be given."""
        self.health.require_ready()
        if self.pipeline is None:
            raise errors.NotReady("The bundle is not calibrated.")
        return self.pipeline


router = APIRouter()

_EXAMPLE_ID = schemas.PROBLEM_EXAMPLE["request_id"]
_KEY_PROBLEMS = (errors.Unauthorized("Send one of the service's keys as `Authorization: Bearer KEY`."),)
_GUARD_PROBLEMS = (
    *_KEY_PROBLEMS,
    errors.EmptyBody("The body is empty; send the bytes of an image."),
    errors.MalformedBody("The multipart body is damaged; send it as RFC 7578 says."),
    errors.BodyTimeout("The body took longer than 10 s; send it faster."),
    errors.BodyTooLarge("The body is larger than 10485760 bytes; send a smaller one."),
    errors.WrongFields("The part `file` is a text field; send it as a file, with a filename."),
    errors.Overloaded("The queue is full; try again later.", retry_after_seconds=1),
    RuntimeError(),
    errors.NotReady("The service is starting; try again soon."),
)
_IMAGE_PROBLEMS = (
    errors.CorruptImage("The image is truncated or damaged; save it again and send it whole."),
    errors.TooManyPixels("The image has 20000 x 20000 pixels; send one of at most 50000000 pixels."),
    errors.UnsupportedFormat("The bytes are no image of an allowed format; send JPEG, PNG, WEBP."),
    errors.ModelOutputError(),
    errors.DeadlineExceeded("The deadline passed before the answer was there; try again later."),
)


def _documented(*examples: Exception) -> dict[int | str, dict[str, Any]]:
    return openapi.problems(*(problem_document(error, _EXAMPLE_ID) for error in examples))


@router.post(
    "/predict",
    summary="Judge one image",
    response_model=schemas.Verdict,
    responses=openapi.ok(schemas.VERDICT_EXAMPLE, "The verdict") | _documented(*_GUARD_PROBLEMS, *_IMAGE_PROBLEMS),
    openapi_extra=openapi.ONE_IMAGE,
)
async def predict(request: Request) -> Response:
    """Send the image as the raw body, or as the file `file` of a form."""
    serving = _serving(request)
    trace = trace_of(request)
    pipeline = serving.ready_pipeline()
    pipeline.require_room()
    with Body(serving.bodies) as body:
        content = await _read(body, request, trace, serving.metrics)
        deadline = time.monotonic() + serving.deadline_seconds
        encoded = one_image(content, trace.content_type)
        with CancelOnDisconnect(request.receive):
            outcome = await pipeline.predict(encoded, deadline=deadline)
    _observe(outcome, serving.metrics)
    trace.stages |= _stages(outcome)
    trace.facts |= {"decision": outcome.verdict.decision, "score": outcome.verdict.score}
    return _json(answer(outcome.verdict, serving.manifest, trace.request_id))


@router.post(
    "/predict/batch",
    summary="Judge many images; one bad image fails alone",
    response_model=list[schemas.Verdict | schemas.Problem],
    responses=openapi.ok([schemas.VERDICT_EXAMPLE, schemas.PROBLEM_EXAMPLE], "A verdict or a problem each, in order")
    | _documented(*_GUARD_PROBLEMS),
    openapi_extra=openapi.MANY_IMAGES,
)
async def predict_batch(request: Request) -> Response:
    """Send a form with the images as files `files`; the list has a verdict or a problem for each, in order."""
    serving = _serving(request)
    trace = trace_of(request)
    pipeline = serving.ready_pipeline()
    pipeline.require_room()
    with Body(serving.bodies) as body:
        content = await _read(body, request, trace, serving.metrics)
        deadline = time.monotonic() + serving.deadline_seconds
        images = many_images(content, trace.content_type, serving.max_files)
        pipeline.require_room(len(images))
        with CancelOnDisconnect(request.receive):
            outcomes = await asyncio.gather(
                *(pipeline.predict(encoded, deadline=deadline) for encoded in images), return_exceptions=True
            )
    return _json([_item(outcome, serving, trace) for outcome in outcomes])


@router.get(
    "/health/live",
    summary="Whether the process runs",
    response_model=schemas.Status,
    responses=openapi.ok({"status": "live"}, "It runs"),
)
async def live() -> Response:
    """Restart the process where this does not answer 200."""
    return _json({"status": "live"})


@router.get(
    "/health/ready",
    summary="Whether verdicts are given: loaded, calibrated, warmed up, canaries agree, not draining",
    response_model=schemas.Status,
    responses=openapi.ok({"status": "ready"}, "They are") | _documented(_GUARD_PROBLEMS[-1]),
)
async def ready(request: Request) -> Response:
    """Send requests only while this answers 200; else the problem says why not."""
    _serving(request).health.require_ready()
    return _json({"status": "ready"})


@router.get(
    "/model",
    summary="What is served, with the threshold's guarantee",
    response_model=schemas.ModelCard,
    responses=openapi.ok(openapi.CARD_EXAMPLE, "The model card") | _documented(*_KEY_PROBLEMS),
)
async def model(request: Request) -> Response:
    """Return the model card; it stays the same as long as the process runs."""
    return Response(_serving(request).card, media_type="application/json")


@router.get(
    "/metrics",
    summary="Prometheus series",
    response_class=Response,
    responses={200: {"description": "Text format", "content": {"text/plain": {"example": openapi.METRICS_EXAMPLE}}}},
)
async def metrics(request: Request) -> Response:
    """Return every series in the Prometheus text format."""
    return Response(_serving(request).metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def answer(verdict: Verdict, manifest: Manifest, request_id: str) -> dict[str, Any]:
    """Return the flat answer for one image; built by hand, for it is on the hot path, and tested against the schema."""
    return {
        "label": verdict.label,
        "class_index": verdict.class_index,
        "probability": verdict.probability,
        "group": verdict.group,
        "decision": verdict.decision,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "p_value": verdict.p_value,
        "others_scores": verdict.others_scores,
        "top": [{"label": label, "probability": probability} for label, probability in verdict.top],
        "model": manifest.name,
        "version": manifest.version,
        "request_id": request_id,
    }


async def _read(body: Body, request: Request, trace: Trace, metrics: Metrics) -> bytes:
    content = await body.read(request.receive, trace.declared_bytes)
    trace.stages["read"] = time.monotonic() - trace.started_at
    metrics.stage("read", trace.stages["read"])
    return content


def _item(outcome: Outcome | BaseException, serving: Serving, trace: Trace) -> dict[str, Any]:
    if isinstance(outcome, Outcome):
        _observe(outcome, serving.metrics)
        for stage, seconds in _stages(outcome).items():
            trace.stages[stage] = max(seconds, trace.stages.get(stage, 0.0))
        return answer(outcome.verdict, serving.manifest, trace.request_id)
    if not isinstance(outcome, Exception):
        raise outcome
    problem = problem_of(outcome)
    serving.metrics.rejected(problem.code)
    if problem.status == 500:
        _log.error("%s", problem.title, exc_info=outcome, extra={"fields": {"request_id": trace.request_id}})
    return problem_document(outcome, trace.request_id)


def _observe(outcome: Outcome, metrics: Metrics) -> None:
    metrics.verdict(outcome.verdict)
    for stage, seconds in _stages(outcome).items():
        metrics.stage(stage, seconds)


def _stages(outcome: Outcome) -> dict[str, float]:
    return {
        "decode": outcome.decode_seconds,
        "queue": outcome.queue_seconds,
        "inference": outcome.inference_seconds,
    }


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


def _json(
    content: Any, status: int = 200, headers: dict[str, str] | None = None, media_type: str = "application/json"
) -> Response:
    # No NaN: it is no JSON, and no answer.
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers, media_type)
