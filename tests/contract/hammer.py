"""Clients that ask as fast as they are answered until nobody listens any more, and the books of how requests ended.

No client repeats a request or forgives anything that TCP shows it, so a request that is lost is in the books.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.http.server import NOTICE_SECONDS

REFUSED = "connection refused"
RESET = "reset"
CUT_OFF = "closed without an answer"
# What HTTP/1.1 cannot spare anyone: a request that was on its way when a connection that had long been idle was ended.
CROSSED = "crossed the end of an idle connection"


@dataclass
class Books:
    """How requests ended, by status or by one of the words above, and the answers that kept the connection."""

    ends: Counter[int | str] = field(default_factory=Counter)
    kept_after_signal: int = 0

    @property
    def lost(self) -> dict[int | str, int]:
        """The requests that have no answer, though a connection for them had been made."""
        return {end: count for end, count in self.ends.items() if end in (RESET, CUT_OFF)}


@dataclass
class Hammer:
    """Clients of one server on 127.0.0.1, and what they note."""

    port: int
    requests: Sequence[bytes]
    books: Books = field(default_factory=Books)
    has_been_signalled: bool = False

    async def strike(self, *, short_lived: int, keep_alive: int, longest_pause_seconds: float) -> None:
        """Let so many clients of both kinds ask until each is refused a connection.

        Those that keep their connections pause between two requests, each by chance and for its own longest time.
        """
        pauses = [longest_pause_seconds * client / keep_alive for client in range(keep_alive)]
        async with asyncio.TaskGroup() as clients:
            for _ in range(short_lived):
                clients.create_task(self._ask(keeps=False, pause_seconds=0.0))
            for pause_seconds in pauses:
                clients.create_task(self._ask(keeps=True, pause_seconds=pause_seconds))

    async def _ask(self, *, keeps: bool, pause_seconds: float) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                self.books.ends[REFUSED] += 1
                return
            except OSError:
                self.books.ends[RESET] += 1
                continue
            idle_seconds = 0.0
            try:
                while await self._request(reader, writer) and keeps:
                    idle_seconds = random.random() * pause_seconds
                    await asyncio.sleep(idle_seconds)
                    if reader.at_eof():  # closed while nothing was asked: no pool would send on it
                        break
            except asyncio.IncompleteReadError as error:
                may_cross = idle_seconds >= NOTICE_SECONDS and not error.partial
                self.books.ends[CROSSED if may_cross else CUT_OFF] += 1
            except OSError:
                self.books.ends[RESET] += 1
            finally:
                writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Ask once; return whether the connection may be used again."""
        was_signalled = self.has_been_signalled
        writer.write(random.choice(self.requests))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        closes = b"\r\nconnection: close\r\n" in head
        self.books.ends[int(head.split()[1])] += 1
        self.books.kept_after_signal += was_signalled and not closes
        return not closes
