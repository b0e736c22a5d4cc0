"""Bodies are counted as they arrive, whatever was declared, and in sum; a slow one is given up."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.errors import BodyTimeout, BodyTooLarge, Overloaded
from service.http.body import Body, BodyLimiter


def sends(*chunks: bytes, ends: bool = True, asked: list[int] | None = None) -> Receive:
    """An ASGI channel that gives *chunks* and then, unless it *ends*, nothing for ever."""

    async def messages() -> AsyncIterator[Message]:
        for index, chunk in enumerate(chunks):
            if asked is not None:
                asked.append(len(chunk))
            yield {"type": "http.request", "body": chunk, "more_body": not ends or index < len(chunks) - 1}
        await asyncio.Event().wait()

    return messages().__anext__


def limiter(max_body_bytes: int = 10, max_buffered_bytes: int = 100, timeout_seconds: float = 30.0) -> BodyLimiter:
    return BodyLimiter(
        max_body_bytes=max_body_bytes, max_buffered_bytes=max_buffered_bytes, timeout_seconds=timeout_seconds
    )


@pytest.mark.parametrize("chunks", [(b"",), (b"0123456789",), (b"01", b"", b"23456789"), (b"0",) * 10])
async def test_a_body_of_any_chunks_is_read_whole(chunks: tuple[bytes, ...]) -> None:
    """Chunks are put together in order, up to exactly the limit."""
    with Body(limiter()) as body:
        assert await body.read(sends(*chunks), None) == b"".join(chunks)


async def test_a_declared_size_over_the_limit_is_refused_unread() -> None:
    """Not one byte is asked for."""
    asked: list[int] = []
    with Body(limiter()) as body, pytest.raises(BodyTooLarge, match="10 bytes"):
        await body.read(sends(b"0", asked=asked), 11)
    assert asked == []


@pytest.mark.parametrize("declared", [None, 5])
async def test_bytes_over_the_limit_are_refused_as_they_come(declared: int | None) -> None:
    """Neither a missing nor a lying Content-Length lets more through, and reading stops there."""
    asked: list[int] = []
    with Body(limiter()) as body, pytest.raises(BodyTooLarge):
        await body.read(sends(b"012345", b"678901", b"x" * 1000, asked=asked), declared)
    assert asked == [6, 6]


async def test_the_limit_is_of_all_chunks_together() -> None:
    """Each of them small, and no two over it."""
    asked: list[int] = []
    with Body(limiter()) as body, pytest.raises(BodyTooLarge):
        await body.read(sends(b"0123", b"4567", b"8901", b"x", asked=asked), None)
    assert asked == [4, 4, 4]


async def test_a_slow_body_times_out() -> None:
    """A body that never ends is given up after the time for all of it."""
    with Body(limiter(timeout_seconds=0.05)) as body, pytest.raises(BodyTimeout, match=r"0\.05 s"):
        await body.read(sends(b"0", ends=False), None)


async def test_a_client_that_leaves_in_its_body_is_told_apart() -> None:
    """A disconnect is no short body."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with Body(limiter()) as body, pytest.raises(ClientDisconnect):
        await body.read(receive, None)


async def test_all_bodies_together_are_bounded() -> None:
    """The body that would exceed the sum is refused, and what ended gives its bytes back."""
    limits = limiter(max_buffered_bytes=15)
    with Body(limits) as first:
        await first.read(sends(b"x" * 10), 10)
        with Body(limits) as second, pytest.raises(Overloaded):
            await second.read(sends(b"x" * 3, b"x" * 3), None)
    with Body(limits) as third:
        await third.read(sends(b"x" * 10), 10)


async def test_one_body_always_fits() -> None:
    """A sum set below one body's limit does not shut the service."""
    with Body(limiter(max_body_bytes=10, max_buffered_bytes=1)) as body:
        assert await body.read(sends(b"x" * 10), 10) == b"x" * 10
