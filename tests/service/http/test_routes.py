"""Each route answers as the contract says, and each error has its one status and code."""

import dataclasses
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import errors
from service.bundle import Bundle
from service.http import schemas
from service.http.routes import problem_document, problem_of
from service.inference.pipeline import Outcome
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import png

RED = png((235, 20, 20))
GREY = png((128, 128, 128))


@pytest.fixture
async def running(tiny_bundle: Bundle) -> AsyncIterator[RunningApp]:
    async with running_app(tiny_bundle.path, canary_interval_seconds=60) as running:
        await running.until_ready()
        yield running


class FailingPipeline:
    """Takes the pipeline's place, to fail in each of its ways."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def require_room(self, images: int = 1) -> None:
        pass

    async def predict(self, encoded: bytes, *, deadline: float) -> Outcome:
        raise self._error


def fail_with(running: RunningApp, error: Exception) -> None:
    pipeline: Any = FailingPipeline(error)
    running.app.state.serving = dataclasses.replace(running.app.state.serving, pipeline=pipeline)


async def test_an_image_gets_a_flat_verdict(running: RunningApp) -> None:
    """Every field of the contract, in the shape that the OpenAPI page promises."""
    response = await running.client.post("/predict", content=RED, headers={"Content-Type": "image/png"})
    assert response.status_code == 200
    verdict = schemas.Verdict.model_validate_json(response.content, strict=True)
    assert (verdict.label, verdict.group, verdict.decision) == ("red", "warm", "in")
    assert verdict.score == -min(verdict.others_scores.values())
    assert verdict.request_id == response.headers["X-Request-ID"]
    assert (verdict.model, verdict.version) == ("tiny", "1")
    assert set(response.json()) == set(schemas.VERDICT_EXAMPLE)


async def test_something_else_is_out(running: RunningApp) -> None:
    """An image unlike any class is decided to be out."""
    response = await running.client.post("/predict", content=GREY)
    assert response.json()["decision"] == "out"


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/octet-stream", "text/html", None])
async def test_the_bytes_tell_the_format(running: RunningApp, content_type: str | None) -> None:
    """A PNG is served whatever it is called."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert (await running.client.post("/predict", content=RED, headers=headers)).status_code == 200


async def test_a_form_and_a_raw_body_get_the_same_verdict(running: RunningApp) -> None:
    """How the image travels changes nothing."""
    raw = (await running.client.post("/predict", content=RED)).json()
    form = (await running.client.post("/predict", files={"file": ("a.png", RED)})).json()
    assert raw | {"request_id": ""} == form | {"request_id": ""}


async def test_a_batch_is_answered_in_order_and_a_bad_image_fails_alone(running: RunningApp) -> None:
    """Each item has its own verdict or problem, whatever its neighbours have."""
    images = [RED, b"no image", GREY, RED[:-30], b""] + [RED, GREY] * 5
    response = await running.client.post("/predict/batch", files=[("files", ("x", image)) for image in images])
    assert response.status_code == 200
    items = TypeAdapter(list[schemas.Verdict | schemas.Problem]).validate_json(response.content)
    told = [item.decision if isinstance(item, schemas.Verdict) else item.code for item in items]
    assert told == ["in", "unsupported_format", "out", "corrupt_image", "empty_body"] + ["in", "out"] * 5
    assert {item.request_id for item in items} == {response.headers["X-Request-ID"]}
    assert running.sample("mos_rejected_total", reason="corrupt_image") == 1


async def test_a_batch_has_a_largest_size(tiny_bundle: Bundle) -> None:
    """One file more than allowed is refused as a whole; the queue's size is a limit too."""
    for limits in ({"max_files": 2}, {"max_files": 9, "max_queue": 2}):
        async with running_app(tiny_bundle.path, **limits) as running:
            await running.until_ready()
            for count, status in ((2, 200), (3, 413)):
                response = await running.client.post("/predict/batch", files=[("files", ("x", RED))] * count)
                assert response.status_code == status


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.EmptyBody("e"), 400, "empty_body"),
        (errors.MalformedBody("e"), 400, "malformed_body"),
        (errors.CorruptImage("e"), 400, "corrupt_image"),
        (errors.Unauthorized("e"), 401, "unauthorized"),
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
    internal = {errors.BundleError, errors.ProviderError}
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


async def test_the_model_card_tells_the_model_and_its_guarantee(running: RunningApp, tiny_bundle: Bundle) -> None:
    """What is served, on what, and what the threshold promises."""
    response = await running.client.get("/model")
    card = schemas.ModelCard.model_validate_json(response.content)
    manifest, calibration = tiny_bundle.manifest, tiny_bundle.calibration
    assert calibration is not None
    assert (card.classes, card.groups, card.input) == (manifest.classes, manifest.groups, manifest.input)
    assert (card.provider, card.model_sha256) == ("cpu", manifest.model_sha256)
    assert card.threshold == calibration.threshold
    assert card.guarantee is not None
    for name in ("n", "k", "tpr", "confidence", "tpr_interval", "created", "method"):
        assert getattr(card.guarantee, name) == getattr(calibration, name)


async def test_metrics_are_prometheus_text(running: RunningApp) -> None:
    """Of the version that every Prometheus reads."""
    response = await running.client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nmos_ready 1.0\n" in response.text


async def test_verdicts_move_the_series(running: RunningApp) -> None:
    """Requests, decisions, stages and scores are counted; the canaries' verdicts are not among them."""
    await running.client.post("/predict", content=RED)
    await running.client.post("/predict/batch", files=[("files", ("x", RED)), ("files", ("y", GREY))])
    assert running.sample("mos_predictions_total", decision="in", group="warm") == 2
    assert running.sample("mos_score_count") == 3
    assert running.sample("mos_others_score_count", group="cool") == 3
    for stage, count in (("read", 2), ("decode", 3), ("queue", 3), ("inference", 3)):
        assert running.sample("mos_stage_duration_seconds_count", stage=stage) == count
    assert running.sample("mos_request_duration_seconds_count", route="/predict") == 1


async def test_docs_and_openapi_are_there(running: RunningApp) -> None:
    """Every documented status of every route has an example, and the examples are true to the schemas."""
    assert (await running.client.get("/docs")).status_code == 200
    paths = (await running.client.get("/openapi.json")).json()["paths"]
    assert set(paths) == {"/predict", "/predict/batch", "/health/live", "/health/ready", "/model", "/metrics"}
    for path, operations in paths.items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                [content] = answer["content"].values()
                examples = [example["value"] for example in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                assert examples, (path, status)
                if int(status) >= 400:
                    assert [schemas.Problem.model_validate(example).status for example in examples] == [
                        int(status)
                    ] * len(examples)
    statuses = {int(status) for status in paths["/predict"]["post"]["responses"]}
    assert statuses == {200, 400, 401, 408, 413, 415, 422, 429, 500, 503, 504}
    schemas.Verdict.model_validate(
        paths["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    )
    schemas.ModelCard.model_validate(
        paths["/model"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    )


def test_a_problem_never_holds_nan() -> None:
    """An answer is JSON, also for an error about a number."""
    document = problem_document(errors.CorruptImage("e"), "id")
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert not any(isinstance(value, float) and math.isnan(value) for value in document.values())
