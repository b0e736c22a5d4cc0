"""Steady traffic of pictures to a service, and a ledger that accounts for every answer."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from tests.server_process import ServerProcess

Picture = tuple[str, bytes]  # what kind of picture it is, and its encoded bytes


@dataclass
class Ledger:
    """What became of every request; each client thread has one of its own, and `total` adds them up."""

    statuses: Counter[str] = field(default_factory=Counter)  # "200", or the code of a problem
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)  # kind of picture, decision
    judges: Counter[tuple[str, float]] = field(default_factory=Counter)  # version, threshold
    lost: list[str] = field(default_factory=list)  # requests without an answer

    def note(self, kind: str, response: httpx.Response) -> None:
        answer = response.json()
        if response.status_code != 200:
            self.statuses[answer["code"]] += 1
            return
        self.statuses["200"] += 1
        self.decisions[kind, answer["decision"]] += 1
        self.judges[answer["version"], answer["threshold"]] += 1

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            self.statuses + other.statuses,
            self.decisions + other.decisions,
            self.judges + other.judges,
            self.lost + other.lost,
        )


class Traffic:
    """Some clients that together send *per_second* pictures of the current *mix*, which may be changed at any time."""

    def __init__(self, server: ServerProcess, mix: Iterator[Picture], *, per_second: float, clients: int = 4) -> None:
        self._server = server
        self._mix = mix
        self._lock = threading.Lock()
        self._ledgers = [Ledger() for _ in range(clients)]
        self._interval_seconds = clients / per_second
        self._is_stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(ledger,)) for ledger in self._ledgers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_stopped.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def change(self, mix: Iterator[Picture]) -> None:
        """Send pictures of another *mix* from now on."""
        with self._lock:
            self._mix = mix

    @property
    def total(self) -> Ledger:
        """The ledger of all clients, complete once they have ended."""
        return sum(self._ledgers, Ledger())

    def _send(self, ledger: Ledger) -> None:
        due = time.monotonic()
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self._is_stopped.wait(max(0.0, due - time.monotonic())):
                due = max(due + self._interval_seconds, time.monotonic() - self._interval_seconds)
                with self._lock:
                    kind, content = next(self._mix)
                try:
                    ledger.note(kind, client.post("/predict", content=content))
                except httpx.TransportError as error:
                    ledger.lost.append(repr(error))


def mix_of(own: Sequence[Picture], foreign: Sequence[Picture], foreign_share: float) -> Iterator[Picture]:
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


def changed(pictures: Sequence[Picture], kind: str, change: Callable[[bytes], bytes]) -> list[Picture]:
    """The same pictures after *change*, called another kind."""
    return [(kind, change(content)) for _, content in pictures]
