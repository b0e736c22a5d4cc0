"""Every exchange has its key checked and its times told, and ends its connection when it must."""

import re
from pathlib import Path

from service.bundle import Bundle
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import png

RED = png((235, 20, 20))


async def test_times_are_told(running: RunningApp) -> None:
    """Server-Timing has each stage that the request went through, in milliseconds, on errors too."""
    verdict = await running.client.post("/predict", content=RED)
    names = re.findall(r"(\w+);dur=[0-9.e-]+", verdict.headers["Server-Timing"])
    assert names == ["read", "decode", "queue", "inference", "total"]
    problem = await running.client.post("/predict", content=b"no image")
    assert problem.headers["Server-Timing"].startswith("read;dur=")


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


async def test_metrics_can_be_closed(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Then a scrape needs a key like any other request, a refused one is counted, and probes still need none."""
    (tmp_path / "keys").write_text("secret\n")
    async with running_app(tiny_bundle.path, api_keys_file=tmp_path / "keys", metrics="key") as running:
        response = await running.client.get("/metrics")
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
        assert running.sample("mos_rejected_total", reason="unauthorized") == 1
        scrape = await running.client.get("/metrics", headers={"Authorization": "Bearer secret"})
        assert (scrape.status_code, "mos_ready" in scrape.text) == (200, True)
        assert (await running.client.get("/health/live")).status_code == 200


async def test_without_keys_nothing_is_asked(running: RunningApp) -> None:
    """An open service ignores whatever key is sent."""
    assert (await running.client.get("/model", headers={"X-API-Key": "any"})).status_code == 200
