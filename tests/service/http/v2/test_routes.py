"""The protocol's routes judge, record and refuse as the native ones do."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service import errors
from service.bundle import Bundle
from service.http.v2 import schemas
from service.inference.pipeline import Prediction
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import SIZE_PIXELS, png

RED, GREY = png((235, 20, 20)), png((128, 128, 128))
INFER = "/v2/models/tiny/infer"


def request(*images: bytes, **fields: Any) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [len(images)], "data": data}], **fields}


async def infer(running: RunningApp, *images: bytes, **fields: Any) -> httpx.Response:
    return await running.client.post(INFER, json=request(*images, **fields))


def tensor(response: httpx.Response, name: str) -> Any:
    [found] = [output for output in response.json()["outputs"] if output["name"] == name]
    return found["data"]


async def test_every_output_is_that_of_the_native_verdict(mos_and_logit_bundle: Bundle) -> None:
    """Two doors, one verdict: value by value, row by row."""
    async with running_app(mos_and_logit_bundle.path) as running:
        await running.until_ready()
        response = await infer(running, RED, GREY)
        native = [(await running.client.post("/predict", content=image)).json() for image in (RED, GREY)]
    schemas.InferAnswer.model_validate_json(response.content, strict=True)
    told = {output["name"]: output for output in response.json()["outputs"]}
    same = {
        name: name for name in ("label", "class_index", "group", "decision", "mos", "threshold", "p_value", "score")
    }
    for output, field in (same | {"class_probability": "probability"}).items():
        assert told[output]["data"] == [verdict[field] for verdict in native], output
    top = [ranked for verdict in native for ranked in verdict["top"]]
    assert told["topk_label"]["data"] == [ranked["label"] for ranked in top]
    assert told["topk_probability"]["data"] == [ranked["probability"] for ranked in top]
    classes = mos_and_logit_bundle.manifest.classes
    assert [classes[index] for index in told["topk_index"]["data"]] == told["topk_label"]["data"]
    assert told["others_scores"]["shape"] == [2, 3]
    assert told["others_scores"]["data"] == [one for verdict in native for one in verdict["others_scores"].values()]
    assert response.json()["parameters"]["decided_by"] == "mos+logit"


async def test_verdicts_are_recorded_like_native_ones(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """In the series under the route's template, in the verdict log by their places, and in the memory of feedback."""
    log, keys, labels = tmp_path / "verdicts.jsonl", tmp_path / "keys", tmp_path / "labels.jsonl"
    keys.write_text("operator\n")
    settings = {"verdict_log": log, "feedback_keys_file": keys, "feedback_log": labels}
    async with running_app(tiny_bundle.path, **settings) as running:
        await running.until_ready()
        response = await running.client.post(INFER, json=request(RED, GREY), headers={"X-Request-ID": "mine"})
        assert response.headers["X-Request-ID"] == response.json()["parameters"]["request_id"] == "mine"
        label = {"request_id": "mine", "index": 1, "label": "out"}
        answer = await running.client.post("/feedback", json=label, headers={"X-API-Key": "operator"})
        assert answer.json()["decision"] == "out"
        assert running.sample("mos_predictions_total", decision="in", group="warm") == 1
        assert running.sample("mos_score_count") == 2
        assert running.sample("mos_requests_total", route="/v2/models/{model}/infer", code="200") == 1
        drift = running.app.state.serving.swap.guard.drift
        assert drift.pictures == 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["request_id"], line["index"], line["decision"]) for line in lines] == [
        ("mine", 0, "in"),
        ("mine", 1, "out"),
    ]


async def test_one_bad_image_fails_the_request_and_records_no_verdict(running: RunningApp) -> None:
    """The first bad one is named; nothing is given for its neighbours, so nothing is counted for them."""
    response = await infer(running, RED, RED[:-30], b"no image")
    assert response.status_code == 400
    assert response.json() == {"error": "Image 1: The image is truncated or damaged; save it again and send it whole."}
    assert running.sample("mos_score_count") == 0
    assert running.sample("mos_rejected_total", reason="corrupt_image") == 1


async def test_pixels_skip_the_decoder_and_binary_comes_back(running: RunningApp) -> None:
    """Binary tensors go in and out behind the JSON, whose size is in a header."""
    pixels = np.full((1, SIZE_PIXELS, SIZE_PIXELS, 3), (235, 20, 20), np.uint8).tobytes()
    shape, size = [1, SIZE_PIXELS, SIZE_PIXELS, 3], {"binary_data_size": len(pixels)}
    header = json.dumps(
        {
            "inputs": [{"name": "images", "datatype": "UINT8", "shape": shape, "parameters": size}],
            "outputs": [{"name": "decision"}, {"name": "class_index", "parameters": {"binary_data": False}}],
            "parameters": {"binary_data_output": True, "sequence_id": 7, "of": "nobody's"},
        }
    ).encode()
    response = await running.client.post(
        INFER, content=header + pixels, headers={"Inference-Header-Content-Length": str(len(header))}
    )
    assert response.status_code == 200
    end = int(response.headers["Inference-Header-Content-Length"])
    decision, index = json.loads(response.content[:end])["outputs"]
    assert decision["parameters"] == {"binary_data_size": 6}
    assert response.content[end:] == b"\x02\0\0\0in"
    assert index["data"] == [0]


@pytest.mark.parametrize(
    "outputs",
    [
        [{"name": "logits"}],
        [{"name": "score"}, {"name": "score"}],
        [{"name": "score", "parameters": {"classification": 3}}],
        [{"name": "score", "parameters": {"shared_memory_region": "a"}}],
    ],
)
async def test_outputs_that_are_not_there_are_refused(running: RunningApp, outputs: list[dict[str, Any]]) -> None:
    """Neither names nor parameters that would change a meaning are passed over."""
    response = await infer(running, RED, outputs=outputs)
    assert response.status_code == 422
    schemas.Error.model_validate_json(response.content)


async def test_a_batch_has_a_largest_size(tiny_bundle: Bundle) -> None:
    """That of the native batch; the queue's size is a limit too."""
    async with running_app(tiny_bundle.path, max_files=9, max_queue=2) as running:
        await running.until_ready()
        assert (await infer(running, RED, RED)).status_code == 200
        assert (await infer(running, RED, RED, RED)).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/tiny/config", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/tiny/versions/2", 404),
        ("POST", "/v2/models/tiny/versions/2/infer", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
    ],
)
async def test_errors_have_the_protocols_form(running: RunningApp, method: str, path: str, status: int) -> None:
    """One sentence under `error`, with the id in the header as everywhere."""
    response = await running.client.request(method, path, json=request(RED) if method == "POST" else None)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert list(response.json()) == ["error"]
    assert response.headers["X-Request-ID"]


async def test_routes_are_counted_by_their_templates(running: RunningApp) -> None:
    """No model's name of a caller's making becomes a series."""
    for name in ("a", "b"):
        await running.client.get(f"/v2/models/{name}")
        await running.client.get(f"/v2/models/{name}/versions/{name}/ready")
        await running.client.get(f"/v2/{name}")
    families = [family for family in running.registry.collect() if family.name == "mos_requests"]
    routes = {sample.labels["route"] for family in families for sample in family.samples}
    version_ready = "/v2/models/{model}/versions/{version}/ready"
    assert routes == {"other", "/health/ready", "/v2/models/{model}", version_ready}


async def test_unready_is_unready_on_every_door(running: RunningApp) -> None:
    """With the native sentence and Retry-After; live stays live."""
    running.app.state.health.fail("engine")
    for response in (
        await running.client.get("/v2/health/ready"),
        await running.client.get("/v2/models/tiny/ready"),
        await infer(running, RED),
    ):
        assert response.status_code == 503
        assert response.json()["error"].startswith("The engine fails")
        assert int(response.headers["Retry-After"]) >= 1
    assert (await running.client.get("/v2/health/live")).json() == {"live": True}


async def test_keys_open_the_protocol_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """All but its health routes, which are public as the native ones are."""
    (tmp_path / "keys").write_text("secret\n")
    async with running_app(tiny_bundle.path, api_keys_file=tmp_path / "keys") as running:
        await running.until_ready()
        for path in ("/v2", "/v2/models/tiny", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1"):
            response = await running.client.get(path)
            assert (response.status_code, list(response.json())) == (401, ["error"])
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert (await running.client.get(path, headers={"X-API-Key": "secret"})).status_code == 200
        assert (await infer(running, RED)).status_code == 401
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert (await running.client.get(path)).status_code == 200


async def test_what_went_wrong_inside_stays_inside(running: RunningApp) -> None:
    """The protocol's errors tell no more than the native ones."""

    async def fail(image: object, *, deadline: float, caller: object) -> Prediction:
        raise errors.ModelOutputError("secret")

    running.app.state.serving.swap.guard.pipeline.predict = fail
    response = await infer(running, RED)
    assert response.status_code == 500
    assert "secret" not in response.text
