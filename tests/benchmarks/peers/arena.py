"""The servers that stand ready with one bundle, and the requests that are put to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.bundle import read_bundle
from tests.benchmarks.peers import process_tree
from tests.benchmarks.peers.contestants import PEERS, Contestant, PeerError, Running, Settings, running, service
from tests.benchmarks.peers.forms import Form
from tests.benchmarks.peers.journal import Row
from tests.benchmarks.peers.plan import Load, Scene
from tests.benchmarks.peers.servers.model import Model

CHECKED_PICTURES = 10
# How far a score may be from the offline one, whose batch was another; relative, for statistics have their own scales.
SCORE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Entry:
    """A server that is sent a scene's pictures in one form of request."""

    server: str
    form: str
    scene: Scene

    def key(self, load: Load, number: int) -> Row:
        """Return what names its row under *load* in round *number*."""
        named = {"kind": "load", "load": load.name, "server": self.server, "form": self.form, "round": number}
        return self.scene.key | named


class Arena:
    """The servers of one bundle, each started when it is first wanted and frozen while it is not its turn."""

    def __init__(self, scenes: Sequence[Scene], folder: Path, python: Path) -> None:
        self.scenes = scenes
        self.bundle = scenes[0].bundle_path
        self.contestants = {"service": service(read_bundle(self.bundle).manifest.name)} | PEERS
        self._folder = folder
        self._python = python
        self._offline = Model(self.bundle, intra_op_threads=1)
        self._stack = contextlib.ExitStack()
        self._servers: dict[str, Running] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def server(self, name: str, settings: Settings) -> Running:
        """Return a server that runs and is frozen."""
        if name not in self._servers:
            self._servers[name] = self._stack.enter_context(self.started(self.contestants[name], settings))
        return self._servers[name]

    @contextlib.contextmanager
    def started(self, contestant: Contestant, settings: Settings) -> Iterator[Running]:
        """Start a server, see that it answers as the bundle does offline, and freeze it."""
        logs = self._folder / "logs"
        logs.mkdir(exist_ok=True)
        with running(contestant, settings, bundle=self.bundle, python=self._python, folder=logs) as server:
            for scene in self.scenes:
                self._check(server, contestant.forms[settings["form"]], scene)
            process_tree.freeze(server.process.pid)
            yield server

    def requests(self, entry: Entry) -> Path:
        """Return a folder with the requests of an entry, a file each."""
        encode = self.contestants[entry.server].forms[entry.form]
        name = f"{entry.server}-{entry.form}-{entry.scene.bundle}-{entry.scene.body}"
        return self._files(name, map(encode, entry.scene.pictures))

    def pictures(self, scene: Scene) -> Path:
        """Return a folder with the pictures of a scene."""
        return self._files(scene.body, scene.pictures)

    def _files(self, name: str, contents: Iterable[bytes]) -> Path:
        folder = self._folder / "files" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            for index, content in enumerate(contents):
                (folder / f"{index:04}").write_bytes(content)
        return folder

    def _check(self, server: Running, encode: Form, scene: Scene) -> None:
        """Raise unless the server gives the offline verdict on some pictures: who answers wrong is no peer."""
        for picture in scene.pictures[:CHECKED_PICTURES]:
            [expected] = self._offline.run([self._offline.decode(picture)])
            answer = ask(server.port, encode(picture))
            names = ("label", "decision")
            is_near = math.isclose(answer["score"], expected["score"], rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)
            if not is_near or any(answer[name] != expected[name] for name in names):
                raise PeerError(f"{server.name} answers {answer} where the bundle says {expected}.")


def ask(port: int, request: bytes) -> Row:
    """Return the JSON object that a server answers, or the one in the list that it answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        content = response.read()
    if response.status != 200:
        raise PeerError(f"A server answers {response.status}: {content[:300]!r}")
    answer = json.loads(content)
    verdict: Row = answer[0] if isinstance(answer, list) else answer
    return verdict
