"""What is measured: which bundles and pictures, under which loads, for how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """A closed loop of clients, or an open loop at a share of the capacity of a server, in percent."""

    kind: str  # closed, or open
    size: int  # clients, or percent
    of: str = "own"  # whose capacity: its own, or the service's

    @property
    def name(self) -> str:
        """How the load is called in rows and tables."""
        if self.kind == "closed":
            return f"closed {self.size}"
        return f"open {self.size}" if self.of == "own" else f"open {self.size} of service"


@dataclass(frozen=True)
class Plan:
    """The sizes of the whole contest."""

    rounds: int = 3
    seconds: float = 1.2
    open_seconds: float = 2.0
    warm_up_seconds: float = 0.3
    clients: tuple[int, ...] = (1, 8, 32, 128)
    shares: tuple[int, ...] = (50, 80, 95)  # percent of a capacity
    service_shares: tuple[int, ...] = (65, 90)  # of the service alone, for they say what a replica may be given
    is_tuned: bool = True
    attempts: int = 3  # at a load while which others used the machine

    @property
    def forms_clients(self) -> int:
        """At how many clients the service's forms of request are compared."""
        return 32 if 32 in self.clients else self.clients[-1]

    def closed_loads(self) -> Iterator[Load]:
        """Yield the closed loops, with the fewest clients first."""
        return (Load("closed", clients) for clients in self.clients)

    def open_loads(self, servers: Sequence[str]) -> Iterator[tuple[Load, str]]:
        """Yield the open loops and which of *servers* is put to each, with the lowest shares first."""
        for share in sorted({*self.shares, *self.service_shares}):
            for server in servers:
                if server == "service" or share in self.shares:
                    yield Load("open", share), server
                if server != "service" and share in self.shares and "service" in servers:
                    yield Load("open", share, of="service"), server


def quick() -> Plan:
    """Return a plan to see that it runs, of a few seconds a server; its numbers mean little."""
    return Plan(
        rounds=1,
        seconds=0.4,
        open_seconds=0.4,
        warm_up_seconds=0.1,
        clients=(1, 32),
        shares=(50,),
        service_shares=(),
        is_tuned=False,
        attempts=1,
    )


@dataclass(frozen=True)
class Scene:
    """A bundle and a kind of pictures, and the servers that are compared by them."""

    bundle: str
    body: str
    bundle_path: Path
    pictures: tuple[bytes, ...]
    servers: tuple[str, ...]

    @property
    def key(self) -> dict[str, str]:
        """What names it in a row."""
        return {"bundle": self.bundle, "body": self.body}
