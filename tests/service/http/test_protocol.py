"""The end of an idle connection: half, so that what crosses it is not answered with a reset."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from service.http.protocol import HttpProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LINGER_SECONDS = 60.0


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[HttpProtocol, socket.socket]]:
    """A connection on which nothing was asked yet: the server's side, and the client's as a bare socket."""
    state = ServerState()
    config = uvicorn.Config(PlainTextResponse("answer"), log_config=None, lifespan="off", http=HttpProtocol)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        while not state.connections:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0)
        [connection] = state.connections
        assert isinstance(connection, HttpProtocol)
        try:
            yield connection, client
        finally:
            server.close()
            connection.transport.abort()
            await asyncio.sleep(0)


async def read(client: socket.socket) -> bytes:
    """What the client reads next; empty at the end of the connection."""
    async with asyncio.timeout(30):
        return await asyncio.get_running_loop().sock_recv(client, 65536)


async def test_an_idle_connection_is_ended_and_what_crosses_is_no_reset() -> None:
    """The client sees the end, and no reset though it has sent a request before it saw it."""
    async with connected() as (connection, client):
        connection.end_if_idle_since(math.inf, LINGER_SECONDS)
        client.send(REQUEST)
        assert await read(client) == b""
        client.send(REQUEST)
        await asyncio.sleep(0.05)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert await read(client) == b""


async def test_a_connection_with_bytes_that_nobody_has_read_is_no_idle_one() -> None:
    """They may be a request, and it is answered."""
    async with connected() as (connection, client):
        client.send(REQUEST)
        connection.end_if_idle_since(math.inf, LINGER_SECONDS)
        assert (await read(client)).startswith(b"HTTP/1.1 200 OK")


async def test_a_connection_with_half_a_head_is_no_idle_one() -> None:
    """Its request has begun."""
    async with connected() as (connection, client):
        client.send(REQUEST[:-10])
        await asyncio.sleep(0.05)
        connection.end_if_idle_since(math.inf, LINGER_SECONDS)
        client.send(REQUEST[-10:])
        assert (await read(client)).startswith(b"HTTP/1.1 200 OK")


async def test_a_connection_is_idle_from_its_last_answer_on() -> None:
    """One that was used a moment ago is given the moment to be used again."""
    async with connected() as (connection, client):
        opened_at = connection._idle_since
        client.send(REQUEST)
        assert (await read(client)).startswith(b"HTTP/1.1 200 OK")
        connection.end_if_idle_since(opened_at, LINGER_SECONDS)
        client.send(REQUEST)
        assert (await read(client)).startswith(b"HTTP/1.1 200 OK")
        connection.end_if_idle_since(math.inf, LINGER_SECONDS)
        assert await read(client) == b""


async def test_a_connection_that_is_closed_already_is_left_alone() -> None:
    """It may be among the server's until the next turn of the loop."""
    async with connected() as (connection, client):
        connection.transport.close()
        connection.end_if_idle_since(math.inf, LINGER_SECONDS)
        assert await read(client) == b""


async def test_an_ended_connection_is_closed_after_its_linger() -> None:
    """A client that never closes its side is not waited for."""
    async with connected() as (connection, client):
        connection.end_if_idle_since(math.inf, 0.01)
        assert await read(client) == b""
        async with asyncio.timeout(30):
            while connection in connection.connections:  # noqa: ASYNC110  it has no event
                await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.send(REQUEST)


async def test_blank_lines_do_not_hold_a_connection() -> None:
    """They begin no request, so that the time of an idle connection goes on."""
    async with connected() as (connection, client):
        connection.timeout_keep_alive = 0.05  # type: ignore[assignment]
        client.send(b"\r\n")
        assert await read(client) == b""


async def test_the_rest_of_a_body_that_nobody_reads_does_not_hold_a_connection() -> None:
    """Its request has been answered: no more of it, and the connection is as idle as any."""
    async with connected() as (connection, client):
        connection.timeout_keep_alive = 0.05  # type: ignore[assignment]
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert (await read(client)).startswith(b"HTTP/1.1 200 OK")
        client.send(b"x")
        assert await read(client) == b""
