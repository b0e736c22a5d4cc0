"""The HTTP server process: uvicorn, with our own order of ending.

On SIGTERM or SIGINT the service first stops being ready, then keeps listening for a moment so that probes and clients
see it, then takes no more connections, answers what it accepted, and exits with status 0.
"""

import asyncio
import math
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings

# Long enough for a closed-loop client to have met a `Connection: close`, short beside any drain.
NOTICE_SECONDS = 1.0
# Longer than the minute after which common load balancers drop an idle connection, so that they do it and not we.
KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """A uvicorn server that says that it is going before it goes."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, notice_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._notice_seconds = notice_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal. uvicorn would raise it again at the end; an orderly end has status 0."""
        self._app.state.health.fail("draining")
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Keep answering for the time of the notice, then end as uvicorn does: accepted requests first."""
        if not self.force_exit:
            await asyncio.sleep(self._notice_seconds)
        await super().shutdown(sockets)


def run(settings: Settings) -> None:
    """Serve until told to end; raises BundleError or ProviderError where the bundle cannot be served."""
    app = create_app(settings)
    notice_seconds = min(NOTICE_SECONDS, settings.drain_seconds / 2)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        # Our own loggers write, one line a request.
        log_config=None,
        access_log=False,
        # Entered below and not by uvicorn, which would print a traceback where one sentence is due.
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds - notice_seconds),
    )

    async def serve() -> None:
        async with app.router.lifespan_context(app):
            await Server(config, app, notice_seconds).serve()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
