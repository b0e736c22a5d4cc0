"""Every answer tells browsers to take it as what it is, and to keep, load and frame nothing."""

import pytest

from tests.service.running_app import RunningApp
from tests.tiny_bundle import png

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/predict", png((235, 20, 20)), 200),
        ("POST", "/predict", b"no image", 415),
        ("GET", "/model", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/health/live", None, 200),
        ("GET", "/openapi.json", None, 200),
        ("GET", "/nope", None, 404),
        ("GET", "/predict", None, 405),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
async def test_every_answer_has_them(
    running: RunningApp, method: str, path: str, content: bytes | None, status: int
) -> None:
    """Verdicts, problems, pages that do not exist: none may load anything, none is kept."""
    response = await running.client.request(method, path, content=content)
    assert response.status_code == status
    assert {name: response.headers.get(name) for name in EVERYWHERE} == EVERYWHERE
    assert response.headers.get_list("Content-Security-Policy") == ["default-src 'none'; frame-ancestors 'none'"]
    assert "Server" not in response.headers
