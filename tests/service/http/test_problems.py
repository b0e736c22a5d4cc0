"""Each error has its one status and code, and tells the caller no more than it should."""

import json
import math

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import errors
from service.http import schemas
from service.http.problems import problem_document, problem_of
from service.inference.pipeline import Prediction
from tests.service.running_app import RunningApp
from tests.tiny_bundle import png

RED = png((235, 20, 20))


def fail_with(running: RunningApp, error: Exception) -> None:
    """Let every image fail with *error* from now on."""

    async def fail(encoded: bytes, *, deadline: float, caller: object) -> Prediction:
        raise error

    running.app.state.serving.swap.guard.pipeline.predict = fail


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.EmptyBody("e"), 400, "empty_body"),
        (errors.MalformedBody("e"), 400, "malformed_body"),
        (errors.CorruptImage("e"), 400, "corrupt_image"),
        (errors.Unauthorized("e"), 401, "unauthorized"),
        (errors.UnknownModel("e"), 404, "unknown_model"),
        (errors.BodyTimeout("e"), 408, "body_timeout"),
        (errors.BodyTooLarge("e"), 413, "body_too_large"),
        (errors.TooManyPixels("e"), 413, "too_many_pixels"),
        (errors.UnsupportedFormat("e"), 415, "unsupported_format"),
        (errors.WrongFields("e"), 422, "wrong_fields"),
        (RequestValidationError([]), 422, "wrong_fields"),
        (errors.Overloaded("e", retry_after_seconds=2.1), 429, "overloaded"),
        (ClientDisconnect(), 499, "client_gone"),
        (errors.ModelOutputError("e"), 500, "model_output"),
        (errors.NotReady("e"), 503, "not_ready"),
        (MemoryError(), 503, "out_of_memory"),
        (errors.DeadlineExceeded("e"), 504, "deadline_exceeded"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405), 405, "method_not_allowed"),
        (RuntimeError("secret"), 500, "internal"),
        (errors.BundleError("secret"), 500, "internal"),
        (HTTPException(418), 500, "internal"),
    ],
)
async def test_every_error_has_its_problem(running: RunningApp, error: Exception, status: int, code: str) -> None:
    """The table's row reaches the client, as a problem document, and is counted under its code."""
    fail_with(running, error)
    response = await running.client.post("/predict", content=RED)
    problem = schemas.Problem.model_validate_json(response.content, strict=True)
    assert (response.status_code, problem.status, problem.code) == (status, status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem.type == f"urn:mos-guard:problem:{code}"
    assert problem.request_id == response.headers["X-Request-ID"]
    assert running.sample("mos_rejected_total", reason=code) == 1
    assert running.sample("mos_requests_total", route="/predict", code=str(status)) == 1


@pytest.mark.parametrize("error", [RuntimeError("/etc/secret at 0x7f"), errors.ModelOutputError("/etc/secret at 0x7f")])
async def test_what_went_wrong_inside_stays_inside(running: RunningApp, error: Exception) -> None:
    """Neither text nor class nor path of an internal error is told."""
    fail_with(running, error)
    response = await running.client.post("/predict", content=RED)
    assert "secret" not in response.text
    assert "0x7f" not in response.text
    assert type(error).__name__ not in response.text
    batch = await running.client.post("/predict/batch", files=[("files", ("x", RED))])
    assert "secret" not in batch.text


def test_every_error_of_the_tree_has_a_row_of_its_own_or_is_internal() -> None:
    """An error that is added to the tree does not become a 500 by being forgotten."""
    internal = {errors.BundleError, errors.ProviderError, errors.SettingError}
    leaves = [kind for kind in vars(errors).values() if isinstance(kind, type) and not kind.__subclasses__()]
    codes = []
    for kind in set(leaves) - internal:
        error = kind("e", retry_after_seconds=1) if kind is errors.Overloaded else kind("e")
        codes.append(problem_of(error).code)
    assert "internal" not in codes
    assert len(codes) == len(set(codes)) >= 13


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (2.1, "3"), (7.0, "7")])
async def test_overload_says_when_to_come_back(running: RunningApp, seconds: float, header: str) -> None:
    """Retry-After is in whole seconds, rounded up, at least one."""
    fail_with(running, errors.Overloaded("e", retry_after_seconds=seconds))
    response = await running.client.post("/predict", content=RED)
    assert response.headers["Retry-After"] == header


async def test_not_ready_says_when_to_come_back(running: RunningApp) -> None:
    """A 503 has a Retry-After too, on /predict as on /health/ready."""
    running.app.state.health.fail("engine")
    for response in (await running.client.post("/predict", content=RED), await running.client.get("/health/ready")):
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) >= 1
    assert (await running.client.get("/health/live")).status_code == 200


async def test_paths_and_methods_that_do_not_exist_are_problems(running: RunningApp) -> None:
    """404 for an unknown path and a trailing slash, 405 with Allow for a wrong method; both counted as known routes."""
    for path in ("/nope", "/predict/", "/health"):
        response = await running.client.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    response = await running.client.get("/predict")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"
    assert running.sample("mos_requests_total", route="other", code="404") == 3


def test_a_problem_never_holds_nan() -> None:
    """An answer is JSON, also for an error about a number."""
    document = problem_document(errors.CorruptImage("e"), "id")
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert not any(isinstance(value, float) and math.isnan(value) for value in document.values())
