"""The client against the real application, and against a transport that answers as a busy one would."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.bundle import Bundle
from service.client import AsyncClient, Client, Problem, Refused, Unreachable, Verdict
from service.client.calls import BATCH_PICTURES
from service.http.schemas import VERDICT_EXAMPLE
from tests.server_process import ServerProcess, running_server
from tests.service.running_app import running_app
from tests.tiny_bundle import png, write_tiny_bundle

RED, GREY = png((235, 20, 20)), png((128, 128, 128))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("client")
    (folder / "keys").write_text("caller\n")
    (folder / "operators").write_text("operator\n")
    settings = {"feedback_keys_file": folder / "operators", "feedback_log": folder / "labels.jsonl"}
    bundle = write_tiny_bundle(folder / "bundle").path
    with running_server(folder, bundle=bundle, api_keys_file=folder / "keys", **settings) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.url, api_key="caller", feedback_key="operator") as client:
        yield client


def answers(*responses: httpx.Response) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """Return a transport that gives *responses* in turn, the last for ever, and the requests that it has seen."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        response = responses[min(len(seen), len(responses)) - 1]
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)

    return httpx.MockTransport(answer), seen


def busy(status: int, **headers: str) -> httpx.Response:
    document = {"status": status, "code": "overloaded", "title": "t", "detail": "d", "request_id": "r", "type": "u"}
    content = json.dumps(document).encode()
    return httpx.Response(status, content=content, headers={"Content-Type": "application/problem+json"} | headers)


VERDICT = httpx.Response(200, json=VERDICT_EXAMPLE)


@pytest.mark.e2e
def test_pictures_of_every_kind_get_one_verdict(client: Client, tmp_path: Path) -> None:
    """Bytes, a path as text or as such, and a picture of Pillow's."""
    (tmp_path / "red.png").write_bytes(RED)
    pictures = [RED, tmp_path / "red.png", str(tmp_path / "red.png"), Image.open(io.BytesIO(RED))]
    verdicts = [client.predict(picture, request_id="mine") for picture in pictures]
    assert len({verdict.score for verdict in verdicts}) == 1
    assert (verdicts[0].label, verdicts[0].is_in, verdicts[0].request_id) == ("red", True, "mine")
    assert verdicts[0].top[0].label == "red"
    assert not client.predict(GREY).is_in


@pytest.mark.e2e
def test_a_batch_is_as_long_as_its_pictures(client: Client) -> None:
    """More than the service takes at a time are sent in several requests; a bad one is a problem in its place."""
    outcomes = client.predict_batch([RED, b"no picture", GREY] * (BATCH_PICTURES // 2))
    told = [outcome.decision if isinstance(outcome, Verdict) else outcome.code for outcome in outcomes]
    assert told == ["in", "unsupported_format", "out"] * (BATCH_PICTURES // 2)
    assert client.predict_batch([]) == []


@pytest.mark.e2e
def test_a_verdict_can_be_labelled(client: Client) -> None:
    """By itself, so that its place in a batch is not lost; the keys are two."""
    verdict = client.predict_batch([RED, GREY])[1]
    assert isinstance(verdict, Verdict)
    labelled = client.feedback(verdict, "out")
    assert (labelled.request_id, labelled.index, labelled.decision) == (verdict.request_id, 1, "out")


@pytest.mark.e2e
def test_the_model_and_its_readiness_are_told(client: Client) -> None:
    """In short, and whole."""
    model = client.model()
    assert client.ready()
    assert (model.name, model.version, model.classes[0]) == ("tiny", "1", "red")
    assert model.threshold == model.card["threshold"]


@pytest.mark.e2e
def test_problems_are_exceptions_with_their_code(server: ServerProcess, client: Client) -> None:
    """A missing key, a bad picture; nothing is tried again."""
    with Client(server.url) as stranger, pytest.raises(Refused) as refusal:
        stranger.predict(RED)
    assert (refusal.value.code, refusal.value.problem.status) == ("unauthorized", 401)
    with pytest.raises(Refused, match="truncated") as refusal:
        client.predict(RED[:-30])
    assert refusal.value.code == "corrupt_image"


@pytest.mark.e2e
def test_connections_are_kept(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many requests travel over one connection."""
    opened: list[object] = []
    transport = httpx.HTTPTransport()
    with Client(server.url, api_key="caller", transport=transport) as client:
        for _ in range(5):
            client.predict(RED)
            opened += transport._pool.connections
    assert len(opened) == 5
    assert len(set(map(id, opened))) == 1


async def test_the_two_clients_say_the_same(tiny_bundle: Bundle) -> None:
    """The asynchronous one, on the application in this loop."""
    async with running_app(tiny_bundle.path) as running:
        await running.until_ready()
        transport = httpx.ASGITransport(running.app)
        async with AsyncClient("http://service", transport=transport) as client:
            assert await client.ready()
            assert (await client.predict(RED)).is_in
            first, second = await client.predict_batch([b"", GREY])
            assert (await client.model()).name == "tiny"
            with pytest.raises(Refused) as refusal:
                await client.feedback("id", "in")
    assert isinstance(first, Problem)
    assert isinstance(second, Verdict)
    assert second.index == 1
    assert refusal.value.code == "not_found"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_when_it_says(status: int, waits: list[float]) -> None:
    """After at least the time of Retry-After, with the same picture."""
    transport, seen = answers(busy(status, **{"Retry-After": "7"}), busy(status, **{"Retry-After": "2"}), VERDICT)
    with Client("http://service", transport=transport) as client:
        assert client.predict(RED).is_in
    assert [request.content for request in seen] == [RED] * 3
    assert 7 <= waits[0] <= 9
    assert 2 <= waits[1] <= 3


def test_waiting_has_a_budget(waits: list[float]) -> None:
    """A wait that does not fit is not begun, and a service that stays busy is given up in time."""
    transport, seen = answers(busy(429, **{"Retry-After": "60"}))
    with Client("http://service", transport=transport, retry_seconds=30) as client, pytest.raises(Refused):
        client.predict(RED)
    assert (len(seen), waits) == (1, [])
    transport, seen = answers(busy(429, **{"Retry-After": "5"}))
    with Client("http://service", transport=transport, retry_seconds=30) as client, pytest.raises(Refused):
        client.predict(RED)
    assert sum(waits) <= 30
    assert 4 <= len(waits) <= 5


async def test_waiting_is_the_same_in_a_loop(waits: list[float]) -> None:
    """A service without Retry-After is given a second."""
    transport, seen = answers(busy(503), VERDICT)
    async with AsyncClient("http://service", transport=transport) as client:
        assert (await client.predict(RED)).is_in
    assert len(seen) == 2
    assert 1 <= waits[0] <= 1.5


@pytest.mark.parametrize("status", [400, 500, 504])
def test_other_problems_are_not_tried_again(status: int, waits: list[float]) -> None:
    """The same bytes would fail again, and a deadline is a deadline."""
    transport, seen = answers(busy(status))
    with Client("http://service", transport=transport) as client, pytest.raises(Refused):
        client.predict(RED)
    assert (len(seen), waits) == (1, [])


@pytest.mark.parametrize(
    ("response", "code"),
    [(httpx.Response(502, html="<p>"), "http_502"), (httpx.Response(307, headers={"Location": "/"}), "http_307")],
)
def test_what_stands_before_the_service_is_told_apart(response: httpx.Response, code: str) -> None:
    """A proxy's own page is a refusal with its status."""
    transport, _ = answers(response)
    with Client("http://service", transport=transport) as client, pytest.raises(Refused) as refusal:
        client.predict(RED)
    assert refusal.value.code == code


@pytest.mark.parametrize("document", [{}, [], 7, None, {"label": "apple"}, VERDICT_EXAMPLE | {"top": 7}])
def test_an_answer_that_lacks_something_is_no_verdict(document: Any) -> None:
    """Nothing is made up: not one field has a default."""
    transport, _ = answers(httpx.Response(200, json=document))
    with Client("http://service", transport=transport) as client, pytest.raises(Unreachable, match="check the URL"):
        client.predict(RED)


def test_a_later_services_fields_are_left_aside() -> None:
    """An older client goes on."""
    transport, _ = answers(httpx.Response(200, json=VERDICT_EXAMPLE | {"new": 1}))
    with Client("http://service", transport=transport) as client:
        assert client.predict(RED).label == "apple"


def test_no_answer_is_one_sentence_without_a_password() -> None:
    """It names where nobody answers."""
    with (
        Client("http://me:secret@127.0.0.1:1") as client,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 ") as failure,
    ):
        client.predict(RED)
    assert "secret" not in str(failure.value)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for; none is waited, and the clock goes on as if it were."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    now: Callable[[], float] = lambda: sum(waited)  # noqa: E731
    monkeypatch.setattr("service.client.clients.time.sleep", waited.append)
    monkeypatch.setattr("service.client.clients.asyncio.sleep", sleep)
    monkeypatch.setattr("service.client.calls.time.monotonic", now)
    return waited
