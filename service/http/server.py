"""The HTTP server process: uvicorn, with our own order of ending.

On SIGTERM or SIGINT the service first stops being ready, and refuses what is new with 503. It keeps listening until all
that it accepted is answered, and at least for a moment, so that probes and clients see it; then it exits with status 0.
"""

import asyncio
import signal
import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.http.protocol import HttpProtocol
from service.inference.health import Health

# Long enough for a closed-loop client to have met a `Connection: close`, short beside any drain.
NOTICE_SECONDS = 1.0
# What is left of the drain for closing connections; a request that is not answered by then is answered 503.
CLOSING_SECONDS = 1
_LOOK_EVERY_SECONDS = 0.05
# Longer than the minute after which common load balancers drop an idle connection, so that they do it and not we.
KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """A uvicorn server that says that it is going before it goes."""

    def __init__(self, config: uvicorn.Config, health: Health, drain_seconds: float) -> None:
        super().__init__(config)
        self._health = health
        self._drain_seconds = drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal. uvicorn would raise it again at the end; an orderly end has status 0."""
        self._health.fail("draining")
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen until what was accepted is answered, at most for the time of the drain, then end as uvicorn does."""
        close_at = time.monotonic() + self._drain_seconds - CLOSING_SECONDS
        await asyncio.sleep(min(NOTICE_SECONDS, self._drain_seconds / 2))
        # uvicorn's set has no event to wait for.
        while self.server_state.tasks and time.monotonic() < close_at and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        await super().shutdown(sockets)


def run(app: FastAPI, *, host: str, port: int, drain_seconds: float) -> None:
    """Serve *app* until told to end; raises what its lifespan raises where it cannot be served.

    SIGHUP asks for the bundle to be read again, where the system has such a signal.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        # Our own loggers write, one line a request.
        log_config=None,
        access_log=False,
        # Entered below and not by uvicorn, which would print a traceback where one sentence is due.
        lifespan="off",
        http=HttpProtocol,
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            if hasattr(signal, "SIGHUP"):
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.state.serving.swap.request)
            await Server(config, app.state.health, drain_seconds).serve()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
