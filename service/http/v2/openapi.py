"""What the OpenAPI pages say of the protocol's routes: parameters, bodies, and an example of every answer."""

from typing import Any

from service import errors
from service.http import openapi
from service.http.problems import problem_of, v2_error_document
from service.http.v2 import schemas

UNKNOWN_MODEL = errors.UnknownModel("There is no such model here; this is cifar100-bit, version 1.")
INFER_ERRORS = (UNKNOWN_MODEL, *openapi.UPLOAD_ERRORS, *openapi.IMAGE_ERRORS)

_JSON_SIZE: dict[str, Any] = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "Bytes of the JSON, where binary tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}
_BODY: dict[str, Any] = {
    "required": True,
    "description": (
        "One input, `images`: BYTES [N] or [N, 1], encoded pictures, in JSON as base64 strings; or UINT8 [N, H, W, 3], "
        "RGB pixels of the model's own size. At most MOS_MAX_FILES (32) images, and never more than the queue holds. "
        "With binary tensors the type is application/octet-stream, and the JSON comes first."
    ),
    "content": {
        "application/json": {
            "schema": schemas.InferRequest.model_json_schema(),
            "examples": {
                "an encoded picture": {"value": schemas.REQUEST_EXAMPLE},
                "the JSON before pixels in binary": {"value": schemas.BINARY_REQUEST_EXAMPLE},
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


def parameters(*names: str) -> dict[str, Any]:
    """Document the parameters *names* of a path."""
    return {
        "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    }


def infer(*names: str) -> dict[str, Any]:
    """Document the request of an `infer` route whose path has the parameters *names*."""
    return {"parameters": [*parameters(*names)["parameters"], _JSON_SIZE], "requestBody": _BODY}


def failures(*examples: Exception) -> dict[int | str, dict[str, Any]]:
    """Document error answers by an example each; several of one status are shown together."""
    answers: dict[int | str, dict[str, Any]] = {}
    for error in examples:
        problem = problem_of(error)
        media_type = {"schema": schemas.Error.model_json_schema(), "examples": {}}
        answer = answers.setdefault(problem.status, {"content": {"application/json": media_type}})
        shown = answer["content"]["application/json"]["examples"]
        shown[problem.code] = {"summary": problem.title, "value": v2_error_document(error)}
        answer["description"] = " · ".join(example["summary"] for example in shown.values())
    return answers
