"""What judges images is served without the framework's layers, and nothing else is."""

import pytest
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.bundle import Bundle
from service.http.direct import DirectRoutes
from service.http.routes import VERDICT_ENDPOINTS, router
from tests.service.running_app import running_app


async def judge(request: Request) -> Response:
    return PlainTextResponse(f"judged {(await request.body()).decode()}")


async def framework(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("framework")(scope, receive, send)


@pytest.fixture
def around() -> list[str]:
    """The paths that went through what is around the endpoints."""
    return []


async def answer(around: list[str], method: str, path: str) -> str:
    def noted(app: ASGIApp) -> ASGIApp:
        async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
            around.append(scope["path"])
            await app(scope, receive, send)

        return wrapper

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"a picture", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": []}
    await DirectRoutes(framework, {"/predict": judge}, noted)(scope, receive, send)
    return sent[1]["body"].decode()


async def test_a_post_to_an_endpoint_goes_straight_to_its_function(around: list[str]) -> None:
    """Through what is around it, which answers its errors."""
    assert await answer(around, "POST", "/predict") == "judged a picture"
    assert around == ["/predict"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("POST", "/predict/"), ("POST", "/other")])
async def test_everything_else_goes_the_frameworks_way(around: list[str], method: str, path: str) -> None:
    """Other methods of the same path too, which it refuses with what there is."""
    assert await answer(around, method, path) == "framework"
    assert around == []


def test_the_endpoints_are_the_frameworks_own() -> None:
    """One function for each path, so that the documentation tells of what is served."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    assert {route.path: route.endpoint for route in routes if "POST" in route.methods} == VERDICT_ENDPOINTS


async def test_the_applications_verdicts_do_not_pass_the_framework(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its router is asked for nothing when a picture comes."""
    async with running_app(tiny_bundle.path) as running:
        await running.until_ready()

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            raise AssertionError(f"{scope['path']} came to the framework")

        monkeypatch.setattr(running.app.router, "middleware_stack", refuse)
        response = await running.client.post("/predict", content=b"no picture")
        assert response.json()["code"] == "unsupported_format"
        assert (await running.client.get("/model")).status_code == 500
