"""The routes of the Open Inference Protocol: they judge on the queue of the native ones, and record as they do."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from service.bundle import Manifest
from service.errors import InputError, UnknownModel
from service.http.exchange import exchange_of
from service.http.judging import log_verdict, record_verdict, serving_of, take_upload
from service.http.openapi import ENGINE_LOST, NOT_READY, UNAUTHORIZED, ok
from service.http.v2 import openapi, schemas
from service.http.v2.tensors_in import parse, pictures
from service.http.v2.tensors_out import JSON_SIZE_HEADER, answer, asked_for, outputs_of
from service.inference.health import require_none
from service.inference.pipeline import Prediction

EXTENSIONS = ["binary_tensor_data"]
# What Triton calls a model of this kind.
PLATFORM = "onnxruntime_onnx"

router = APIRouter(tags=["Open Inference Protocol"])

_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
_infer: dict[str, Any] = {
    "summary": "Judge images; one bad image fails the request",
    "response_model": schemas.InferAnswer,
    "responses": ok(schemas.ANSWER_EXAMPLE, "The outputs asked for, or all") | openapi.failures(*openapi.INFER_ERRORS),
}
_metadata: dict[str, Any] = {
    "summary": "The model's inputs and outputs",
    "response_model": schemas.Model,
    "responses": ok(schemas.MODEL_EXAMPLE, "They are") | openapi.failures(UNAUTHORIZED, openapi.UNKNOWN_MODEL),
}
_ready: dict[str, Any] = {
    "summary": "Whether the model gives verdicts",
    "response_model": schemas.ModelReady,
    "responses": ok(schemas.MODEL_READY_EXAMPLE, "It does")
    | openapi.failures(UNAUTHORIZED, openapi.UNKNOWN_MODEL, NOT_READY),
}


@router.get(
    "/v2",
    summary="The server and the extensions that it knows",
    response_model=schemas.Server,
    responses=ok(schemas.SERVER_EXAMPLE, "The server's metadata") | openapi.failures(UNAUTHORIZED),
)
async def server(request: Request) -> Response:
    """Return the server's metadata."""
    return JSONResponse({"name": request.app.title, "version": request.app.version, "extensions": EXTENSIONS})


@router.get(
    "/v2/health/live",
    summary="Whether the process can still do its work",
    response_model=schemas.Live,
    responses=ok({"live": True}, "It can") | openapi.failures(ENGINE_LOST),
)
async def live(request: Request) -> Response:
    """Answer as /health/live does."""
    serving_of(request).require_life()
    return JSONResponse({"live": True})


@router.get(
    "/v2/health/ready",
    summary="Whether verdicts are given",
    response_model=schemas.Ready,
    responses=ok({"ready": True}, "They are") | openapi.failures(NOT_READY),
)
async def ready(request: Request) -> Response:
    """Answer as /health/ready does."""
    require_none(serving_of(request).faults)
    return JSONResponse({"ready": True})


@router.get(_MODEL, openapi_extra=openapi.parameters("model"), **_metadata)
@router.get(_VERSION, openapi_extra=openapi.parameters("model", "version"), **_metadata)
async def metadata(request: Request) -> Response:
    """Return the model's metadata; `images` may be sent as BYTES, too, see `infer`."""
    manifest = serving_of(request).swap.guard.manifest
    _require_model(request, manifest)
    size = manifest.input
    return JSONResponse(
        {
            "name": manifest.name,
            "versions": [manifest.version],
            "platform": PLATFORM,
            "inputs": [{"name": schemas.INPUT, "datatype": "UINT8", "shape": [-1, size.height, size.width, 3]}],
            "outputs": [
                {"name": name, "datatype": output.datatype, "shape": [-1, *output.shape]}
                for name, output in outputs_of(manifest).items()
            ],
        }
    )


@router.get(f"{_MODEL}/ready", openapi_extra=openapi.parameters("model"), **_ready)
@router.get(f"{_VERSION}/ready", openapi_extra=openapi.parameters("model", "version"), **_ready)
async def model_ready(request: Request) -> Response:
    """Answer 200 only while the model in service gives verdicts."""
    serving = serving_of(request)
    _require_model(request, serving.swap.guard.manifest)
    require_none(serving.faults)
    return JSONResponse({"name": serving.swap.guard.manifest.name, "ready": True})


@router.post(f"{_MODEL}/infer", openapi_extra=openapi.infer("model"), **_infer)
@router.post(f"{_VERSION}/infer", openapi_extra=openapi.infer("model", "version"), **_infer)
async def infer(request: Request) -> Response:
    """Judge encoded pictures (BYTES) or pixels (UINT8), in JSON or as binary tensors.

    The protocol knows no error of one image: the first bad one fails the request, and its place is named. Outputs are
    binary where `binary_data` or `binary_data_output` asks for it. `id` comes back; `parameters` that have no meaning
    here are not looked at.
    """
    serving, exchange = serving_of(request), exchange_of(request)
    async with take_upload(request, serving, exchange) as upload:
        manifest = upload.guard.manifest
        _require_model(request, manifest)
        parsed = parse(upload.content, request.headers.get(JSON_SIZE_HEADER))
        outputs = outputs_of(manifest)
        wanted = asked_for(parsed.request, outputs)
        images = pictures(parsed, manifest.input, serving.max_files)
        predictions = _all_or_nothing(await upload.judge_all(images))
    require_none(upload.guard.faults)  # asked once more before the first: all verdicts are given, or none
    for index, prediction in enumerate(predictions):
        record_verdict(prediction, upload.guard, serving, exchange, index)
    verdicts = [prediction.verdict for prediction in predictions]
    if len(verdicts) == 1:
        log_verdict(verdicts[0], manifest, exchange)
    document: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version}
    if parsed.request.id is not None:
        document["id"] = parsed.request.id
    document["parameters"] = {"request_id": exchange.request_id, "decided_by": manifest.decided_by}
    return answer(verdicts, parsed.request, wanted, outputs, document)


def _require_model(request: Request, manifest: Manifest) -> None:
    """Raise UnknownModel unless the path names the model of *manifest* and, where it names one, its version."""
    asked = request.path_params
    if asked["model"] != manifest.name or asked.get("version", manifest.version) != manifest.version:
        raise UnknownModel(f"There is no such model here; this is {manifest.name}, version {manifest.version}.")


def _all_or_nothing(outcomes: Sequence[Prediction | BaseException]) -> list[Prediction]:
    """Return the predictions, or raise what became of the first image that has none."""
    predictions = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, InputError):
            raise type(outcome)(f"Image {index}: {outcome}") from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        predictions.append(outcome)
    return predictions
