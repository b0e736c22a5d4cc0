"""The client for threads and the one for an event loop: each sends what `calls.py` says, and waits in its own way."""

import asyncio
import time
from collections.abc import Iterable
from typing import Self, TypeVar

import httpx

from service.client.answers import Labelled, Model, Problem, Unreachable, Verdict
from service.client.calls import Call, Calls, Picture, Send, Wait
from service.client.trace_headers import trace_headers

T = TypeVar("T")
_CONNECT_SECONDS = 5.0


class Client:
    """A client whose calls block; connections are kept and shared by threads until it is closed.

    Args:
        url: where the service is, such as `http://127.0.0.1:8000`; a path before its routes is kept.
        api_key: one of the service's keys, where it has any.
        feedback_key: one of the keys for labels.
        timeout_seconds: longest silence of one request, each time it is sent.
        retry_seconds: longest time that one request may wait for a service that answers 429 or 503; each wait is what
            Retry-After says, and up to a quarter more. 0 never waits.
        transport: how requests travel, for a proxy or certificates of one's own.

    Every call raises Refused where the service answers with a problem, and Unreachable where it does not answer. Where
    the caller uses OpenTelemetry, the service hears of the trace that it is in.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        feedback_key: str | None = None,
        timeout_seconds: float = 30.0,
        retry_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(feedback_key, retry_seconds)
        self._http = httpx.Client(
            base_url=url, headers=_key_header(api_key), timeout=_timeout(timeout_seconds), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, picture: Picture, *, request_id: str | None = None) -> Verdict:
        """Return the verdict on one picture; *request_id* is what logs and labels shall call it."""
        return self._run(self._calls.predict(picture, request_id))

    def predict_batch(self, pictures: Iterable[Picture]) -> list[Verdict | Problem]:
        """Return a verdict or a problem for each picture, in order; many are sent in several requests."""
        return self._run(self._calls.predict_batch(pictures))

    def ready(self) -> bool:
        """Return whether verdicts are given now; it never waits."""
        return self._run(self._calls.ready())

    def model(self) -> Model:
        """Return what is served."""
        return self._run(self._calls.model())

    def feedback(self, about: Verdict | str, label: str, *, index: int = 0) -> Labelled:
        """Say what a picture was: `in`, `out` or its class; *about* is its verdict, or its request's id and *index*."""
        return self._run(self._calls.feedback(about, label, index))

    def _run(self, call: Call[T]) -> T:
        answer = None
        try:
            while True:
                answer = self._do(call.send(answer))
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: Send | Wait) -> httpx.Response | None:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.request(step.method, step.path, headers={**trace_headers(), **step.headers}, **step.body)
        except httpx.HTTPError as error:
            raise _unreachable(self._http, error) from error


class AsyncClient:
    """The same for an event loop: `async with`, and every call is awaited."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        feedback_key: str | None = None,
        timeout_seconds: float = 30.0,
        retry_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Calls(feedback_key, retry_seconds)
        self._http = httpx.AsyncClient(
            base_url=url, headers=_key_header(api_key), timeout=_timeout(timeout_seconds), transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(self, picture: Picture, *, request_id: str | None = None) -> Verdict:
        """Do as `Client.predict` does; a file is read at once, which a slow disk makes the loop wait for."""
        return await self._run(self._calls.predict(picture, request_id))

    async def predict_batch(self, pictures: Iterable[Picture]) -> list[Verdict | Problem]:
        """Do as `Client.predict_batch` does."""
        return await self._run(self._calls.predict_batch(pictures))

    async def ready(self) -> bool:
        """Do as `Client.ready` does."""
        return await self._run(self._calls.ready())

    async def model(self) -> Model:
        """Do as `Client.model` does."""
        return await self._run(self._calls.model())

    async def feedback(self, about: Verdict | str, label: str, *, index: int = 0) -> Labelled:
        """Do as `Client.feedback` does."""
        return await self._run(self._calls.feedback(about, label, index))

    async def _run(self, call: Call[T]) -> T:
        answer = None
        try:
            while True:
                answer = await self._do(call.send(answer))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: Send | Wait) -> httpx.Response | None:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.request(
                step.method, step.path, headers={**trace_headers(), **step.headers}, **step.body
            )
        except httpx.HTTPError as error:
            raise _unreachable(self._http, error) from error


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))


def _key_header(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"X-API-Key": api_key}


def _unreachable(http: httpx.Client | httpx.AsyncClient, error: Exception) -> Unreachable:
    place = http.base_url.netloc.decode() or str(http.base_url)  # without a password
    return Unreachable(f"{place} does not answer ({type(error).__name__}); check the URL and that the service runs.")
