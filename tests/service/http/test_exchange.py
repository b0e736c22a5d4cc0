"""Every exchange has an id, its times, a checked key, and is counted under a bounded route."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.bundle import Bundle
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import png

RED = png((235, 20, 20))


@pytest.fixture
async def running(tiny_bundle: Bundle) -> AsyncIterator[RunningApp]:
    async with running_app(tiny_bundle.path, canary_interval_seconds=60) as running:
        await running.until_ready()
        yield running


@pytest.mark.parametrize("request_id", ["abc", "A-Z_0.9~:/+=x", "x" * 128])
async def test_a_well_formed_id_is_echoed(running: RunningApp, request_id: str) -> None:
    """The caller's id comes back, in the header and in the answer."""
    response = await running.client.post("/predict", content=RED, headers={"X-Request-ID": request_id})
    assert response.headers["X-Request-ID"] == response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a b", "<script>", 'a"b', "a;b", "a\tb"])
async def test_any_other_id_is_replaced(running: RunningApp, request_id: str) -> None:
    """Nothing that could break a log or a page is repeated."""
    response = await running.client.get("/health/live", headers={"X-Request-ID": request_id})
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"])


async def test_made_ids_differ(running: RunningApp) -> None:
    """Two exchanges can be told apart."""
    ids = {(await running.client.get("/health/live")).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


async def test_times_are_told(running: RunningApp) -> None:
    """Server-Timing has each stage that the request went through, in milliseconds, on errors too."""
    verdict = await running.client.post("/predict", content=RED)
    names = re.findall(r"(\w+);dur=[0-9.e-]+", verdict.headers["Server-Timing"])
    assert names == ["read", "decode", "queue", "inference", "total"]
    problem = await running.client.post("/predict", content=b"no image")
    assert problem.headers["Server-Timing"].startswith("read;dur=")


async def test_unknown_paths_share_one_label(running: RunningApp) -> None:
    """No path of a caller's making becomes a series."""
    for path in ("/a", "/b/c", "/predict/../x", "/%00"):
        await running.client.get(path)
    families = [family for family in running.registry.collect() if family.name == "mos_requests"]
    routes = {sample.labels["route"] for family in families for sample in family.samples}
    assert routes <= {"other", "/health/ready"}


async def test_answers_of_a_draining_service_end_the_connection(running: RunningApp) -> None:
    """Clients are told to go elsewhere with their next request."""
    assert "connection" not in (await running.client.get("/health/live")).headers
    running.app.state.health.fail("draining")
    assert (await running.client.get("/health/live")).headers["Connection"] == "close"


async def test_keys_cover_all_but_probes_and_metrics(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Without a key only the open routes answer; every other path, known or not, is a 401 that says how."""
    (tmp_path / "keys").write_text("secret\n")
    async with running_app(tiny_bundle.path, api_keys_file=tmp_path / "keys") as running:
        await running.until_ready()
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await running.client.get(path)).status_code == 200
        for path in ("/model", "/docs", "/openapi.json", "/nope", "/predict", "/metrics/"):
            response = await running.client.get(path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        for headers in ({"Authorization": "Bearer secret"}, {"X-API-Key": "secret"}):
            assert (await running.client.post("/predict", content=RED, headers=headers)).status_code == 200


async def test_without_keys_nothing_is_asked(running: RunningApp) -> None:
    """An open service ignores whatever key is sent."""
    assert (await running.client.get("/model", headers={"X-API-Key": "any"})).status_code == 200
