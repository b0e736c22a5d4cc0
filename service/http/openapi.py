"""What the OpenAPI pages say beyond the schemas: the request bodies, and an example of every answer of every route."""

from typing import Any

from service import errors
from service.http import schemas
from service.http.problems import problem_document

DESCRIPTION = """\
Says what is on an image and whether the model may be believed: a decision `in` or `out` of the distribution it was
trained on, by one score against a calibrated threshold: the Minimum Others Score, or the statistic that `decided_by`
names. Any doubt is an error, never `in`.

Errors are problem details (RFC 9457); their `code` is stable. Every answer has `X-Request-ID` (yours, where you sent
one of at most 128 letters, digits and `._~:/+=-`) and `Server-Timing`. Where the service has keys, every route but
`/health/*`, `/v2/health/*` and, unless it is closed, `/metrics` asks for one, as `Authorization: Bearer KEY` or
`X-API-Key: KEY`; `/feedback`, where it is there, asks for one of its own. Errors under `/v2` have the form of the Open
Inference Protocol, with the same statuses and headers.
"""

_BINARY = {"type": "string", "format": "binary"}

ONE_IMAGE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "A JPEG, PNG or WebP. The format is told by the bytes, whatever Content-Type says; only "
            "multipart/form-data is read as a form, every other type, or none, as the image itself."
        ),
        "content": {
            **{kind: {"schema": _BINARY} for kind in ("image/jpeg", "image/png", "image/webp")},
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}},
            },
        },
    }
}
MANY_IMAGES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "Files named `files`, at most MOS_MAX_FILES (32) and never more than the queue holds; together at most "
            "MOS_MAX_BODY_BYTES (10 MiB)."
        ),
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": _BINARY, "minItems": 1}},
                }
            }
        },
    }
}
LABEL: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON of at most 16 KiB.",
        "content": {
            "application/json": {
                "schema": schemas.Label.model_json_schema(),
                "examples": {
                    "a stranger": {"value": schemas.LABEL_EXAMPLE},
                    "the third picture of a batch": {"value": {**schemas.LABEL_EXAMPLE, "label": "apple", "index": 2}},
                },
            }
        },
    }
}

CARD_EXAMPLE: dict[str, Any] = {
    "name": "cifar100-bit",
    "version": "1",
    "created": "2026-01-02T03:04:05Z",
    "backbone": "R50x1",
    "precision": "float32",
    "provider": "cpu",
    "input": {
        "height": 128,
        "width": 128,
        "resample": "bilinear",
        "resize": "squash",
        "orientation": "exif",
        "alpha": "white",
        "depth16": "scaled",
        "color": "RGB",
        "rules": 1,
    },
    "classes": ["apple", "baby"],
    "groups": [{"name": "fruit and vegetables", "classes": [0]}, {"name": "people", "classes": [1]}],
    "decision": {
        "statistic": "mos",
        "parts": [{"name": "mos", "weight": 1.0, "mean": 0.0, "deviation": 1.0, "parameters": {}}],
        "parameters": {},
    },
    "threshold": -0.871,
    "guarantee": {
        "tpr": 0.95,
        "confidence": 0.9,
        "tpr_interval": [0.945, 0.958],
        "method": "order-statistic",
        "n": 5000,
        "k": 230,
        "created": "2026-01-02T03:04:05Z",
        "model_sha256": "9f2c" * 16,
        "preprocess_sha256": "41d0" * 16,
        "data": {"images": 5000},
        "reference": {"ranks": [1, 230, 2500, 5000], "scores": [-0.998, -0.871, -0.104, -0.0001]},
        "operating_points": [
            {
                "tpr": 0.95,
                "threshold": -0.871,
                "k": 230,
                "accuracy_on_accepted": 0.84,
                "strangers": {
                    "textures": {
                        "scaled": {"share": 0.31, "n": 600, "interval": [0.273, 0.349]},
                        "as_is": {"share": 0.22, "n": 600, "interval": [0.187, 0.255]},
                    }
                },
            }
        ],
        "strangers": {
            "short_side_pixels": 160,
            "sets": {"textures": {"data": {"n": 600}, "scaled_down": 600, "smaller": 0}},
        },
    },
    "drift": {
        "images": 12000,
        "expected_reject_share": 0.055,
        "sought_reject_share": 0.11,
        "tests": {
            "rejects": {"statistic": 1.2, "limit": 15.5, "alarm": False},
            "p_values": {"statistic": 0.4, "limit": 16.1, "alarm": False},
        },
    },
    "model_sha256": "9f2c" * 16,
    "preprocess_sha256": "41d0" * 16,
    "training": {"seed": 0},
    "metrics": {"accuracy": 0.82},
}
METRICS_EXAMPLE = "# TYPE mos_ready gauge\nmos_ready 1.0\n"

UNAUTHORIZED = errors.Unauthorized("Send one of the service's keys as `Authorization: Bearer KEY`.")
NOT_READY = errors.NotReady("The service is starting; try again soon.")
ENGINE_LOST = errors.NotReady("The engine has failed or hung for 61 s; restart the service.")
COMPRESSED = errors.UnsupportedFormat("The body is compressed, as its Content-Encoding says; send it uncompressed.")
# What a route that takes images may answer instead of judging them.
UPLOAD_ERRORS = (
    UNAUTHORIZED,
    errors.EmptyBody("The body is empty; send the bytes of an image."),
    errors.MalformedBody("The multipart body is damaged; send it as RFC 7578 says."),
    errors.BodyTimeout("The body took longer than 10 s; send it faster."),
    errors.BodyTooLarge("The body is larger than 10485760 bytes; send a smaller one."),
    COMPRESSED,
    errors.WrongFields("The part `file` is a text field; send it as a file, with a filename."),
    errors.Overloaded("The queue is full; try again later.", retry_after_seconds=1),
    RuntimeError(),
    NOT_READY,
    MemoryError(),
)
# What may become of one image; in a batch they are items of the list.
IMAGE_ERRORS = (
    errors.CorruptImage("The image is truncated or damaged; save it again and send it whole."),
    errors.TooManyPixels("The image has 20000 x 20000 pixels; send one of at most 50000000 pixels."),
    errors.UnsupportedFormat("The bytes are no image of an allowed format; send JPEG, PNG, WEBP."),
    errors.ModelOutputError(),
    errors.DeadlineExceeded("The deadline passed before the answer was there; try again later."),
)
# What may become of a label.
FEEDBACK_ERRORS = (
    UNAUTHORIZED,
    errors.MalformedBody("The body is no JSON; send an object with `request_id` and `label`."),
    errors.BodyTimeout("The body took longer than 10 s; send it faster."),
    errors.BodyTooLarge("The body is larger than 16384 bytes; send a smaller one."),
    errors.WrongFields("The label is neither `in`, `out` nor a class of the served model; GET /model lists them."),
    errors.Overloaded("Too many bodies are being received; try again later.", retry_after_seconds=1),
    RuntimeError(),
    errors.NotWritten("The label could not be written, so it does not count; send it again later."),
)


def ok(example: Any, description: str) -> dict[int | str, dict[str, Any]]:
    """Document the 200 answer of a JSON route."""
    return {200: {"description": description, "content": {"application/json": {"example": example}}}}


def problems(*examples: Exception) -> dict[int | str, dict[str, Any]]:
    """Document error answers by an example each; several of one status are shown together."""
    answers: dict[int | str, dict[str, Any]] = {}
    for error in examples:
        document = problem_document(error, schemas.PROBLEM_EXAMPLE["request_id"])
        answer = answers.setdefault(document["status"], {"description": document["title"], "content": {}})
        media_type = answer["content"].setdefault(
            "application/problem+json", {"schema": schemas.Problem.model_json_schema(), "examples": {}}
        )
        media_type["examples"][document["code"]] = {"summary": document["title"], "value": document}
        answer["description"] = " · ".join(example["summary"] for example in media_type["examples"].values())
    return answers
