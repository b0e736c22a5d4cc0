"""Labels are checked, written before they are answered, and counted once a picture."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.bundle import Bundle
from service.errors import MalformedBody, WrongFields
from service.http import feedback, schemas
from service.http.feedback import check_class, read_label
from service.watch.feedback import Feedback
from service.watch.json_lines import LineFile
from tests.full_disk import full_disk
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import png, write_tiny_bundle

RED = png((235, 20, 20))
GREY = png((128, 128, 128))
KEY = {"Authorization": "Bearer label-key"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "feedback-keys"
    path.write_text("label-key\n")
    return path


@pytest.fixture
async def labelling(tiny_bundle: Bundle, tmp_path: Path, keys: Path) -> AsyncIterator[RunningApp]:
    settings = {"feedback_keys_file": keys, "feedback_log": tmp_path / "labels", "canary_interval_seconds": 60}
    async with running_app(tiny_bundle.path, **settings) as running:
        await running.until_ready()
        yield running


async def send(running: RunningApp, **members: object) -> httpx.Response:
    return await running.client.post("/feedback", json=members, headers=KEY)


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "labels").read_text().splitlines()]


async def test_a_label_meets_its_verdict(labelling: RunningApp, tmp_path: Path) -> None:
    """The answer and the line say what was decided; the series count side and decision."""
    verdict = (await labelling.client.post("/predict", content=RED)).json()
    response = await send(labelling, request_id=verdict["request_id"], label="out")
    assert response.status_code == 200
    answer = schemas.Labelled.model_validate_json(response.content, strict=True)
    assert (answer.request_id, answer.index, answer.label, answer.decision) == (verdict["request_id"], 0, "out", "in")
    [line] = lines(tmp_path)
    assert (line["request_id"], line["label"], line["decision"]) == (verdict["request_id"], "out", "in")
    assert (line["score"], line["predicted"], line["version"]) == (verdict["score"], "red", "1")
    assert labelling.sample("mos_feedback_total", label="out", decision="in") == 1
    assert labelling.sample("mos_feedback_classes_total", agrees="yes") == 0


async def test_a_class_meets_the_prediction_of_its_picture(labelling: RunningApp) -> None:
    """In a batch each picture has its place."""
    files = [("files", ("a", RED)), ("files", ("b", b"no image")), ("files", ("c", GREY))]
    verdicts = (await labelling.client.post("/predict/batch", files=files)).json()
    request_id = verdicts[0]["request_id"]
    answers = [
        (await send(labelling, request_id=request_id, index=index, label=label)).json()["decision"]
        for index, label in enumerate(["red", "red", "blue"])
    ]
    assert answers == ["in", "unknown", "out"]
    agreed = {agrees: labelling.sample("mos_feedback_classes_total", agrees=agrees) for agrees in ("yes", "unknown")}
    assert agreed == {"yes": 1, "unknown": 1}
    assert labelling.sample("mos_feedback_total", label="in", decision="out") == 1


async def test_a_label_goes_to_the_bundle_that_judged(tmp_path: Path, keys: Path) -> None:
    """After another bundle took its place, the line still names the one that was wrong or right."""
    place = write_tiny_bundle(tmp_path / "bundle").path
    logs = {"feedback_keys_file": keys, "feedback_log": tmp_path / "labels", "verdict_log": tmp_path / "verdicts"}
    async with running_app(place, **logs) as running:
        await running.until_ready()
        for version in ("1", "2"):
            response = await running.client.post("/predict", content=RED, headers={"X-Request-ID": version})
            assert response.json()["version"] == version
            write_tiny_bundle(place, version="2")
            await running.app.state.serving.swap.reload()
        for request_id in ("1", "2"):
            await send(running, request_id=request_id, label="in")
    assert [line["version"] for line in lines(tmp_path)] == ["1", "2"]
    verdicts = [json.loads(line) for line in (tmp_path / "verdicts").read_text().splitlines()]
    assert [line["version"] for line in verdicts] == ["1", "2"]


async def test_an_unknown_id_is_taken(labelling: RunningApp, tmp_path: Path) -> None:
    """The verdict may be another replica's; the label is kept all the same."""
    assert (await send(labelling, request_id="elsewhere", label="in")).json()["decision"] == "unknown"
    assert [line["decision"] for line in lines(tmp_path)] == ["unknown"]
    assert labelling.sample("mos_feedback_total", label="in", decision="unknown") == 1


async def test_a_label_is_checked_against_the_model_that_judged(labelling: RunningApp, tmp_path: Path) -> None:
    """After an exchange the classes of the former model are still right for its verdicts, and new ones are not."""
    await labelling.client.post("/predict", content=RED, headers={"X-Request-ID": "a"})
    serving = labelling.app.state.serving
    manifest = serving.swap.guard.manifest
    serving.swap.guard.manifest = manifest.model_copy(update={"classes": [f"new {name}" for name in manifest.classes]})
    assert (await send(labelling, request_id="a", label="red")).status_code == 200
    assert (await send(labelling, request_id="a", label="new red")).status_code == 422
    assert (await send(labelling, request_id="unknown", label="new red")).status_code == 200


async def test_a_correction_is_written_and_not_counted_again(labelling: RunningApp, tmp_path: Path) -> None:
    """The last line is what holds; the series count the picture once, and that it was corrected."""
    for label in ("in", "out", "out"):
        assert (await send(labelling, request_id="a", label=label)).status_code == 200
    assert [line["label"] for line in lines(tmp_path)] == ["in", "out", "out"]
    assert labelling.sample("mos_feedback_total", label="in", decision="unknown") == 1
    assert labelling.sample("mos_feedback_total", label="out", decision="unknown") == 0
    assert labelling.sample("mos_feedback_corrections_total") == 2


async def test_what_cannot_be_written_is_not_counted(labelling: RunningApp, tmp_path: Path) -> None:
    """The sender hears it and still has the label; verdicts go on, and the next label is written."""
    with full_disk(0):
        response = await send(labelling, request_id="a", label="in")
        assert (response.status_code, response.json()["code"]) == (503, "not_written")
        assert int(response.headers["Retry-After"]) >= 1
        assert (await labelling.client.post("/predict", content=RED)).status_code == 200
    assert labelling.sample("mos_feedback_total", label="in", decision="unknown") == 0
    assert labelling.sample("mos_log_lines_dropped_total", log="feedback") == 1
    assert (await send(labelling, request_id="a", label="in")).status_code == 200
    assert labelling.sample("mos_feedback_total", label="in", decision="unknown") == 1
    assert [line["request_id"] for line in lines(tmp_path)] == ["a"]


async def test_a_blocked_disk_is_a_503_and_holds_up_no_verdict(
    labelling: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write waits in a thread of its own, and not for ever."""
    disk_is_back = asyncio.Event()
    loop = asyncio.get_running_loop()
    write = LineFile.write

    def hang(file: LineFile, lines: list[bytes]) -> int:
        asyncio.run_coroutine_threadsafe(disk_is_back.wait(), loop).result()
        return write(file, lines)

    monkeypatch.setattr(LineFile, "write", hang)
    monkeypatch.setattr(feedback, "WRITE_SECONDS", 0.2)
    waiting = asyncio.create_task(send(labelling, request_id="a", label="in"))
    assert (await labelling.client.post("/predict", content=RED)).status_code == 200
    assert (await waiting).status_code == 503
    disk_is_back.set()
    monkeypatch.setattr(feedback, "WRITE_SECONDS", 60)
    assert (await send(labelling, request_id="a", label="in")).status_code == 200


async def test_only_feedback_keys_open_it_and_nothing_else(tiny_bundle: Bundle, tmp_path: Path, keys: Path) -> None:
    """Whoever may ask for verdicts may not label, and the other way round; a look-alike path opens nothing."""
    (tmp_path / "api-keys").write_text("api-key\n")
    settings = {"api_keys_file": tmp_path / "api-keys", "feedback_keys_file": keys, "feedback_log": tmp_path / "labels"}
    label = {"request_id": "a", "label": "in"}
    async with running_app(tiny_bundle.path, **settings) as running:
        await running.until_ready()
        for headers in ({}, {"Authorization": "Bearer api-key"}, {"X-API-Key": "wrong"}):
            for path in ("/feedback", "/feedback%0A", "/feedback/"):
                response = await running.client.post(path, json=label, headers=headers)
                assert response.status_code in ((401,) if path == "/feedback" else (401, 404))
            response = await running.client.post("/feedback", json=label, headers=headers)
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert lines(tmp_path) == []
        for headers in (KEY, {"X-API-Key": "label-key"}):
            assert (await running.client.post("/feedback", json=label, headers=headers)).status_code == 200
            assert (await running.client.post("/predict", content=RED, headers=headers)).status_code == 401
            assert (await running.client.post("/feedback%0A", json=label, headers=headers)).status_code in (401, 404)
    assert "key" not in (tmp_path / "labels").read_text()


async def test_without_a_keys_file_there_is_no_such_route(running: RunningApp) -> None:
    """Neither the path nor its description is there."""
    response = await running.client.post("/feedback", json={"request_id": "a", "label": "in"}, headers=KEY)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "/feedback" not in (await running.client.get("/openapi.json")).json()["paths"]


async def test_the_pages_promise_what_it_does(labelling: RunningApp) -> None:
    """Every status has an example, and the examples are true to the schemas."""
    operation = (await labelling.client.get("/openapi.json")).json()["paths"]["/feedback"]["post"]
    assert {int(status) for status in operation["responses"]} == {200, 400, 401, 408, 413, 422, 429, 500, 503}
    schemas.Labelled.model_validate(operation["responses"]["200"]["content"]["application/json"]["example"])
    for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
        schemas.Label.model_validate(example["value"], strict=True)
        assert (await send(labelling, **(example["value"] | {"label": "out"}))).status_code == 200


def test_a_label_is_read() -> None:
    """The place in a batch may be left out."""
    assert read_label(b'{"request_id": "a", "label": "red"}') == Feedback("a", 0, "red")
    assert read_label(b'{"request_id": "a", "label": "in", "index": 3}') == Feedback("a", 3, "in")


@pytest.mark.parametrize("content", [b"", b"label=in", b'{"request_id": "a"', b"\xff\xfe", b"[" * 10_000])
def test_what_is_no_json_is_malformed(content: bytes) -> None:
    """The body cannot be taken apart at all."""
    with pytest.raises(MalformedBody):
        read_label(content)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"label": "in"}', "`request_id`"),
        ('{"request_id": "a"}', "`label`"),
        ('{"request_id": "", "label": "in"}', "`request_id`"),
        ('{"request_id": "a\\n", "label": "in"}', "`request_id`"),
        ('{"request_id": "a b", "label": "in"}', "`request_id`"),
        ('{"request_id": 7, "label": "in"}', "`request_id`"),
        ('{"request_id": "a", "label": true}', "`label`"),
        ('{"request_id": "a", "label": "in", "index": -1}', "`index`"),
        ('{"request_id": "a", "label": "in", "index": 1.5}', "`index`"),
        ('{"request_id": "a", "label": "in", "index": "1"}', "`index`"),
        ('{"request_id": "a", "label": "in", "index": 9999999999999999999999}', "`index`"),
        ('{"request_id": "a", "label": "in", "comment": ""}', "The body"),
        ('["a", "in"]', "The body"),
    ],
)
def test_a_wrong_field_is_named(body: str, named: str) -> None:
    """One sentence says which, and what to do."""
    with pytest.raises(WrongFields) as caught:
        read_label(body.encode())
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", ["purple", "IN", ""])
def test_a_class_that_the_model_lacks_is_refused(tiny_bundle: Bundle, label: str) -> None:
    """The sentence says where the classes are listed."""
    check_class(Feedback("a", 0, "red"), tiny_bundle.manifest)
    with pytest.raises(WrongFields, match="GET /model"):
        check_class(Feedback("a", 0, label), tiny_bundle.manifest)
