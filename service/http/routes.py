"""The routes: each reads a request, asks for what it needs, and answers."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from service.http import openapi, schemas
from service.http.answers import model_card, verdict_document
from service.http.exchange import Exchange, exchange_of
from service.http.form import many_images, one_image
from service.http.judging import Serving, log_verdict, record_verdict, serving_of, take_upload
from service.http.problems import problem_document
from service.http.recording import record_problem
from service.inference.health import require_none
from service.inference.pipeline import Prediction
from service.serving.guard import Guard

router = APIRouter()


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
    serving, exchange = serving_of(request), exchange_of(request)
    async with take_upload(request, serving, exchange) as upload:
        image = one_image(upload.content, exchange.content_type)
        prediction = await upload.judge(image)
    log_verdict(prediction.verdict, upload.guard.manifest, exchange)
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
    serving, exchange = serving_of(request), exchange_of(request)
    async with take_upload(request, serving, exchange) as upload:
        images = many_images(upload.content, exchange.content_type, serving.max_files)
        outcomes = await upload.judge_all(images)
    return JSONResponse(
        [_document(outcome, upload.guard, serving, exchange, index) for index, outcome in enumerate(outcomes)]
    )


# Those that are asked for many times a second.
VERDICT_ENDPOINTS = {"/predict": predict, "/predict/batch": predict_batch}


@router.get(
    "/health/live",
    summary="Whether the process can still do its work: it runs, and has not lost its engine for good",
    response_model=schemas.Status,
    responses=openapi.ok({"status": "live"}, "It can") | openapi.problems(openapi.ENGINE_LOST),
)
async def live(request: Request) -> Response:
    """Restart the process where this does not answer 200."""
    serving_of(request).require_life()
    return JSONResponse({"status": "live"})


@router.get(
    "/health/ready",
    summary="Whether verdicts are given: loaded, calibrated, warmed up, canaries agree, not draining",
    response_model=schemas.Status,
    responses=openapi.ok({"status": "ready"}, "They are") | openapi.problems(openapi.NOT_READY),
)
async def ready(request: Request) -> Response:
    """Send requests only while this answers 200; else the problem says why not."""
    require_none(serving_of(request).faults)
    return JSONResponse({"status": "ready"})


@router.get(
    "/model",
    summary="What is served and what decides, with the threshold's guarantee",
    response_model=schemas.ModelCard,
    responses=openapi.ok(openapi.CARD_EXAMPLE, "The model card") | openapi.problems(openapi.UNAUTHORIZED),
)
async def model(request: Request) -> Response:
    """Return the model card of the bundle in service, and where the drift tests stand."""
    guard = serving_of(request).swap.guard
    card = model_card(guard.bundle, guard.provider, guard.drift)
    return Response(card.model_dump_json(), media_type="application/json")


@router.get(
    "/metrics",
    summary="Prometheus series",
    response_class=Response,
    responses=openapi.problems(openapi.UNAUTHORIZED)
    | {
        200: {
            "description": "The format of Prometheus, or OpenMetrics where it is accepted",
            "content": {
                "text/plain": {"example": openapi.METRICS_EXAMPLE},
                "application/openmetrics-text": {"example": f"{openapi.METRICS_EXAMPLE}# EOF\n"},
            },
        }
    },
)
async def metrics(request: Request) -> Response:
    """Return every series; traces are named beside the request durations in OpenMetrics alone."""
    text, content_type = serving_of(request).metrics.text(request.headers.get("Accept", ""))
    return Response(text, headers={"Content-Type": content_type})


def _document(
    outcome: Prediction | BaseException, guard: Guard, serving: Serving, exchange: Exchange, index: int = 0
) -> dict[str, Any]:
    """Record what became of image *index* of an exchange, and return its verdict or its problem."""
    if isinstance(outcome, Prediction):
        record_verdict(outcome, guard, serving, exchange, index)
        return verdict_document(outcome.verdict, guard.manifest, exchange.request_id)
    if not isinstance(outcome, Exception):
        raise outcome
    record_problem(outcome, exchange, serving.metrics)
    return problem_document(outcome, exchange.request_id)
