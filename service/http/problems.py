"""The one table from errors to statuses, and the answer that each error becomes: RFC 9457 problem details.

On the paths of the Open Inference Protocol the answer has that protocol's form; status and headers are the same.
"""

import math
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from service import errors

# A service that is not ready may be so at the next check of its canaries.
NOT_READY_RETRY_SECONDS = 5
# Memory is back as soon as the requests that hold it are answered.
OUT_OF_MEMORY_RETRY_SECONDS = 1
# A full disk takes a person, a blocked one may be back soon.
NOT_WRITTEN_RETRY_SECONDS = 30


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
    errors.UnknownModel: Problem(404, "unknown_model", "Unknown model"),
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
    MemoryError: Problem(503, "out_of_memory", "Out of memory", "There is no memory for this now; try again later."),
    errors.NotWritten: Problem(503, "not_written", "Not written"),
    errors.DeadlineExceeded: Problem(504, "deadline_exceeded", "Deadline passed"),
}
# The framework's own refusals come as one class with a status.
HTTP_PROBLEMS: dict[int, Problem] = {
    400: Problem(400, "bad_request", "Bad request", "The request is not valid HTTP/1.1."),
    404: Problem(
        404, "not_found", "Not found", "There is nothing at this path; /docs, if it is on, has what there is."
    ),
    405: Problem(405, "method_not_allowed", "Method not allowed", "The header Allow lists this path's methods."),
    431: Problem(
        431, "head_too_large", "Head too large", "The request's headers are too large; send fewer or shorter ones."
    ),
}


def problem_of(error: Exception) -> Problem:
    """Return the row of the table that *error* falls under."""
    if isinstance(error, HTTPException) and error.status_code in HTTP_PROBLEMS:
        return HTTP_PROBLEMS[error.status_code]
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def problem_document(error: Exception, request_id: str) -> dict[str, Any]:
    """Return *error* as problem details."""
    problem = problem_of(error)
    return {
        "type": f"urn:mos-guard:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": sentence_of(error),
        "code": problem.code,
        "request_id": request_id,
    }


def problem_response(error: Exception, request_id: str) -> Response:
    """Return the answer to a request that ended in *error*."""
    return JSONResponse(
        problem_document(error, request_id), problem_of(error).status, _headers(error), "application/problem+json"
    )


def v2_error_document(error: Exception) -> dict[str, str]:
    """Return *error* as the Open Inference Protocol words it: one sentence, under one name."""
    return {"error": sentence_of(error)}


def v2_error_response(error: Exception) -> Response:
    """Return the answer to a request of the Open Inference Protocol that ended in *error*."""
    return JSONResponse(v2_error_document(error), problem_of(error).status, _headers(error))


def sentence_of(error: Exception) -> str:
    """Return what may be said of *error* outside."""
    return problem_of(error).sentence or str(error)


def _headers(error: Exception) -> dict[str, str]:
    """Return the headers that tell the client what to do next; the framework's own errors bring some with them."""
    headers = dict(getattr(error, "headers", None) or {})
    if isinstance(error, errors.Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif isinstance(error, errors.NotReady):
        headers["Retry-After"] = str(NOT_READY_RETRY_SECONDS)
    elif isinstance(error, MemoryError):
        headers["Retry-After"] = str(OUT_OF_MEMORY_RETRY_SECONDS)
    elif isinstance(error, errors.NotWritten):
        headers["Retry-After"] = str(NOT_WRITTEN_RETRY_SECONDS)
    elif isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="mos-guard"'
    return headers
