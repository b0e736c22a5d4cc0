"""Traffic of requests that are due whether or not earlier ones are answered, and who keeps the books of the answers."""

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from tests.server_process import ServerProcess

# An answer that has not come by then never will, however busy the machine is.
PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Request:
    """What is sent, and what its sender knows of it."""

    kind: str
    content: bytes = b""
    path: str = "/predict"
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: Any = None


class Books(Protocol):
    """Hears what becomes of every request, in the thread that sends them."""

    def note(self, request: Request, response: httpx.Response, seconds: float) -> None:
        """Note the answer to *request*, which took *seconds*."""

    def lose(self, request: Request, error: httpx.TransportError) -> None:
        """Note that *request* has no answer."""


@dataclass
class Ledger:
    """What became of every request for one verdict."""

    statuses: Counter[str] = field(default_factory=Counter)  # "200", or the code of a problem
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)  # kind of picture, decision
    judges: Counter[tuple[str, float]] = field(default_factory=Counter)  # version, threshold
    lost: list[str] = field(default_factory=list)  # requests without an answer

    def note(self, request: Request, response: httpx.Response, seconds: float) -> None:
        """Note the verdict or the problem."""
        answer = response.json()
        if response.status_code != 200:
            self.statuses[answer["code"]] += 1
            return
        self.statuses["200"] += 1
        self.decisions[request.kind, answer["decision"]] += 1
        self.judges[answer["version"], answer["threshold"]] += 1

    def lose(self, request: Request, error: httpx.TransportError) -> None:
        """Note why there is no answer."""
        self.lost.append(repr(error))

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())


class Traffic:
    """So many requests *per_second* of the current *mix*, which may be changed at any time, while the block runs.

    They are due evenly, or at times of *chance* (Poisson arrivals). At most *most_at_once* are on their way: beyond,
    they wait to be sent, so that with an infinite rate it is a closed loop of that many clients.
    """

    def __init__(
        self,
        server: ServerProcess,
        mix: Iterator[Request],
        books: Books,
        *,
        per_second: float,
        most_at_once: int = 64,
        chance: random.Random | None = None,
    ) -> None:
        self._server = server
        self._mix = mix
        self._books = books
        self._interval_seconds = 1 / per_second
        self._most_at_once = most_at_once
        self._chance = chance
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send no more, and wait for the answers that are due."""
        self._is_stopped.set()
        self._thread.join(timeout=PATIENCE_SECONDS)

    def change(self, mix: Iterator[Request]) -> None:
        """Send requests of another *mix* from now on."""
        self._mix = mix

    async def _send(self) -> None:
        limits = httpx.Limits(max_connections=self._most_at_once, max_keepalive_connections=self._most_at_once)
        places = asyncio.Semaphore(self._most_at_once)
        due = time.monotonic()
        async with (
            httpx.AsyncClient(base_url=self._server.url, timeout=PATIENCE_SECONDS, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            while not self._is_stopped.is_set():
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await places.acquire()
                group.create_task(self._ask(client, next(self._mix), places))
                # What a stall has held up is sent at once, but for what was due more than a second ago.
                due = max(due + self._pause_seconds(), time.monotonic() - 1)

    def _pause_seconds(self) -> float:
        if self._chance is None or not self._interval_seconds:
            return self._interval_seconds
        return self._chance.expovariate(1 / self._interval_seconds)

    async def _ask(self, client: httpx.AsyncClient, request: Request, places: asyncio.Semaphore) -> None:
        sent_at = time.monotonic()
        try:
            response = await client.request(
                request.method, request.path, content=request.content, headers=dict(request.headers)
            )
        except httpx.TransportError as error:
            self._books.lose(request, error)
        else:
            self._books.note(request, response, time.monotonic() - sent_at)
        finally:
            places.release()


def mix_of(own: Sequence[Request], foreign: Sequence[Request], foreign_share: float) -> Iterator[Request]:
    """Own pictures for ever, with foreign ones spread evenly among them."""
    owns, foreigns = itertools.cycle(own), itertools.cycle(foreign)
    debt = 0.0
    while True:
        debt += foreign_share
        if debt >= 1:
            debt -= 1
            yield next(foreigns)
        else:
            yield next(owns)


def changed(requests: Sequence[Request], kind: str, change: Callable[[bytes], bytes]) -> list[Request]:
    """The same requests after *change* of their pictures, called another kind."""
    return [replace(request, kind=kind, content=change(request.content)) for request in requests]
