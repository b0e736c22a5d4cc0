"""The routes that judge images, without the framework's layers, which on small pictures cost as much as all the rest.

They are the framework's routes too, with the same functions, so the documentation and every other method know them.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """Pure ASGI: a POST to one of *endpoints*, by path, goes through *around* to its function, all else to *framework*.

    *around* must answer every error, for nothing else would.
    """

    def __init__(
        self, framework: ASGIApp, endpoints: Mapping[str, Endpoint], around: Callable[[ASGIApp], ASGIApp]
    ) -> None:
        self._framework = framework
        self._served = {path: around(_served_by(endpoint)) for path, endpoint in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        app = self._served.get(scope["path"], self._framework) if is_post else self._framework
        await app(scope, receive, send)


def _served_by(endpoint: Endpoint) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return app
