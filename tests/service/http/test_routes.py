"""Each route answers as the contract says."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import TypeAdapter

from service.bundle import Bundle
from service.http import schemas
from service.inference.pipeline import Prediction
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import png

RED = png((235, 20, 20))
GREY = png((128, 128, 128))


async def test_an_image_gets_a_flat_verdict(running: RunningApp) -> None:
    """Every field of the contract, in the shape that the OpenAPI page promises."""
    response = await running.client.post("/predict", content=RED, headers={"Content-Type": "image/png"})
    assert response.status_code == 200
    verdict = schemas.Verdict.model_validate_json(response.content, strict=True)
    assert (verdict.label, verdict.group, verdict.decision) == ("red", "warm", "in")
    assert verdict.score == verdict.mos == -min(verdict.others_scores.values())
    assert verdict.decided_by == "mos"
    assert verdict.request_id == response.headers["X-Request-ID"]
    assert (verdict.model, verdict.version) == ("tiny", "1")
    assert set(response.json()) == set(schemas.VERDICT_EXAMPLE)


async def test_another_statistic_decides_beside_mos(mos_and_logit_bundle: Bundle) -> None:
    """The answer names what decided; its score has a threshold of its own scale, and MOS is told all the same."""
    assert mos_and_logit_bundle.calibration is not None
    async with running_app(mos_and_logit_bundle.path) as running:
        await running.until_ready()
        answers = [(await running.client.post("/predict", content=image)).content for image in (RED, GREY)]
    verdicts = [schemas.Verdict.model_validate_json(answer, strict=True) for answer in answers]
    assert [verdict.decision for verdict in verdicts] == ["in", "out"]
    for verdict in verdicts:
        assert verdict.decided_by == "mos+logit"
        assert verdict.mos == -min(verdict.others_scores.values())
        assert verdict.threshold == mos_and_logit_bundle.calibration.threshold
    assert verdicts[0].score > 0, "beyond what MOS can be"
    assert verdicts[1].score < -1


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


async def test_metrics_are_prometheus_text(running: RunningApp) -> None:
    """Of the version that every Prometheus reads."""
    response = await running.client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "\nmos_ready 1.0\n" in response.text


async def test_life_ends_with_a_lost_engine_and_not_in_a_drain(tiny_bundle: Bundle) -> None:
    """A restart would help the one, and cost the other the answers it still owes."""
    async with running_app(tiny_bundle.path, engine_grace_seconds=1e-6, canary_interval_seconds=60) as running:
        await running.until_ready()
        running.app.state.serving.swap.guard.health.fail("engine")
        await asyncio.sleep(0.01)
        lost = await running.client.get("/health/live")
        problem = schemas.Problem.model_validate_json(lost.content, strict=True)
        assert (lost.status_code, problem.code, "restart" in problem.detail) == (503, "not_ready", True)
        running.app.state.health.fail("draining")
        assert (await running.client.get("/health/live")).status_code == 200
        assert (await running.client.get("/health/ready")).status_code == 503


async def test_nothing_but_a_lost_engine_ends_life(tiny_bundle: Bundle) -> None:
    """What another start would not mend is no reason for one."""
    async with running_app(tiny_bundle.path, engine_grace_seconds=1e-6, canary_interval_seconds=60) as running:
        await running.until_ready()
        for fault in ("starting", "uncalibrated", "canary"):
            running.app.state.serving.swap.guard.health.fail(fault)
        await asyncio.sleep(0.01)
        assert (await running.client.get("/health/ready")).status_code == 503
        assert (await running.client.get("/health/live")).status_code == 200


async def test_readiness_lost_while_the_body_comes_is_heard(running: RunningApp) -> None:
    """An upload that began while all was well gets no verdict of a model that has moved since."""
    guard = running.app.state.serving.swap.guard

    async def slowly() -> AsyncIterator[bytes]:
        yield RED[:30]
        guard.health.fail("canary")
        yield RED[30:]

    response = await running.client.post("/predict", content=slowly())
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_readiness_lost_while_an_image_is_judged_is_heard(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A verdict is given only by a guard that is ready when it is given, and counted only then."""
    guard = running.app.state.serving.swap.guard
    predict = guard.pipeline.predict

    async def predict_and_fail(encoded: bytes, *, deadline: float, caller: object) -> Prediction:
        prediction: Prediction = await predict(encoded, deadline=deadline, caller=caller)
        guard.health.fail("canary")
        return prediction

    monkeypatch.setattr(guard.pipeline, "predict", predict_and_fail)
    response = await running.client.post(path, files={"file" if path == "/predict" else "files": ("x", RED)})
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert running.sample("mos_score_count") == 0
