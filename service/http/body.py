"""Request bodies: counted and timed as they arrive, and bounded, each and in sum."""

import asyncio
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Self

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.errors import BodyTimeout, BodyTooLarge, Overloaded

_BUSY_SECONDS = 1.0


class BodyLimiter:
    """The limits of one body and of all together, and the bytes of those that are held now."""

    def __init__(self, *, max_body_bytes: int, max_buffered_bytes: int, timeout_seconds: float) -> None:
        self.max_body_bytes = max_body_bytes
        self.timeout_seconds = timeout_seconds
        # One body always fits, whatever the settings are to each other.
        self._max_buffered_bytes = max(max_buffered_bytes, max_body_bytes)
        self._buffered_bytes = 0

    def acquire(self, size_bytes: int) -> None:
        """Count bytes that are about to be held; raises Overloaded where all bodies together hold too many."""
        if self._buffered_bytes + size_bytes > self._max_buffered_bytes:
            raise Overloaded("Too many bodies are being received; try again later.", retry_after_seconds=_BUSY_SECONDS)
        self._buffered_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Count bytes that are held no longer."""
        self._buffered_bytes -= size_bytes


class Body:
    """The body of one request, whose bytes count until the `with` block is left."""

    def __init__(self, limiter: BodyLimiter) -> None:
        self._limiter = limiter
        self._size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.release(self._size_bytes)

    async def read(self, receive: Receive, content_length: int | None) -> bytes:
        """Return the whole body.

        Args:
            receive: the ASGI channel.
            content_length: what the request declares, where it does.

        Raises:
            BodyTooLarge: as soon as it is declared or seen to be larger than allowed.
            BodyTimeout: it is not complete in time.
            Overloaded: all bodies together hold too many bytes.
            ClientDisconnect: the client left.
        """
        if content_length is not None and content_length > self._limiter.max_body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limiter.timeout_seconds):
                message = await receive()
                content = self._count(message)
                if not message.get("more_body", False):
                    return content
                # One growing array and not a list of pieces: a body in a million chunks takes no more than its bytes.
                whole = bytearray(content)
                while message.get("more_body", False):
                    message = await receive()
                    whole += self._count(message)
                return bytes(whole)
        except TimeoutError as error:
            raise BodyTimeout(
                f"The body took longer than {self._limiter.timeout_seconds:g} s; send it faster."
            ) from error

    def _count(self, message: MutableMapping[str, Any]) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content: bytes = message.get("body", b"")
        if self._size_bytes + len(content) > self._limiter.max_body_bytes:
            raise self._too_large()
        self._limiter.acquire(len(content))
        self._size_bytes += len(content)
        return content

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is larger than {self._limiter.max_body_bytes} bytes; send a smaller one.")
