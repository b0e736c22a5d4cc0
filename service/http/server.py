"""The HTTP server process: uvicorn, with our own order of ending.

On SIGTERM or SIGINT the service first stops being ready, refuses what is new with 503, and lets every answer end its
connection. It keeps listening until all that it accepted is answered, and at least for a moment, so that probes and
clients see it. Then it lets no connection begin any more, accepts those that have begun, stops listening, and ends each
connection once nothing was asked on it for a moment; it exits with status 0.

A request is lost only where it crosses the end of a connection that had been idle for that moment. HTTP/1.1 gives a
server no way to take the offer of an idle connection back, so this much remains, for the time that one packet travels.
The client then sees a closed connection and no byte of an answer, which tells it that nothing was done; and no reset.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.http.protocol import HttpProtocol
from service.http.sockets import begin_no_connection, descriptor_limit, is_readable
from service.inference.health import Health

# Long enough for a closed-loop client to have met a `Connection: close`, short beside any drain.
NOTICE_SECONDS = 1.0
# Longer than a packet and its answer travel: by then every handshake that had begun has ended.
ROUND_TRIP_SECONDS = 0.25
# What is left of the drain for closing connections; a request that is not answered by then is answered 503.
CLOSING_SECONDS = 1
_LOOK_EVERY_SECONDS = 0.05
# For the files and sockets of the process itself, and for the connections that come between two looks.
RESERVED_DESCRIPTORS = 64
# Longer than the minute after which common load balancers drop an idle connection, so that they do it and not we.
KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """A uvicorn server that says that it is going before it goes."""

    def __init__(self, config: uvicorn.Config, health: Health, drain_seconds: float) -> None:
        super().__init__(config)
        self._health = health
        self._drain_seconds = drain_seconds
        self._notice_seconds = min(NOTICE_SECONDS, drain_seconds / 4)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal. uvicorn would raise it again at the end; an orderly end has status 0."""
        self._health.fail("draining")
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Before the descriptors run out, let the connections go on which nothing is asked: others wait outside."""
        if len(self.server_state.connections) > descriptor_limit() - RESERVED_DESCRIPTORS:
            self._end_idle_connections()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, at most for the time of the drain, then end as uvicorn does."""
        end_at = time.monotonic() + self._drain_seconds - CLOSING_SECONDS
        await asyncio.sleep(self._notice_seconds)
        # Later ones are refused, and so not waited for: under a storm of clients there is always one more.
        accepted = frozenset(self.server_state.tasks)
        stop_at = end_at - ROUND_TRIP_SECONDS - self._notice_seconds
        await self._while(lambda: bool(accepted & self.server_state.tasks), until=stop_at)
        await self._stop_listening(end_at)
        await self._while(self._end_idle_connections, until=end_at)
        await super().shutdown(sockets)

    async def _stop_listening(self, until: float) -> None:
        """Accept every connection that a client may believe to have, and only then close the sockets."""
        listeners = [listener for server in self.servers for listener in server.sockets]
        for listener in listeners:
            begin_no_connection(listener)
        await asyncio.sleep(ROUND_TRIP_SECONDS)
        await self._while(lambda: any(map(is_readable, listeners)), until)
        for server in self.servers:
            server.close()

    def _end_idle_connections(self) -> bool:
        """End each connection that has been idle for as long as the notice; return whether there is any left."""
        idle_since = time.monotonic() - self._notice_seconds
        for connection in self.server_state.connections:
            assert isinstance(connection, HttpProtocol), "the protocol that run() configures"
            connection.end_if_idle_since(idle_since, ROUND_TRIP_SECONDS)
        return bool(self.server_state.connections)

    async def _while(self, condition: Callable[[], bool], until: float) -> None:
        """Wait for the end of a condition that has no event, at most until then, in seconds of time.monotonic."""
        while condition() and time.monotonic() < until and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_SECONDS)


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
        if hasattr(signal, "SIGHUP"):  # before the bundle is read: it may have been replaced while it was
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.state.is_reload_wanted.set)
        async with app.router.lifespan_context(app):
            await Server(config, app.state.health, drain_seconds).serve()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())
