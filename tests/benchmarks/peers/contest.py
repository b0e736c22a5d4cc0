"""Measures the servers in turns: in each round every load is put to one server after the other, the others frozen."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

from service.bundle import read_bundle
from tests.benchmarks.peers import process_tree
from tests.benchmarks.peers.ceiling import shapes
from tests.benchmarks.peers.contestants import CORES, PEERS, Contestant, PeerError, Running, Settings, running, service
from tests.benchmarks.peers.forms import Form
from tests.benchmarks.peers.journal import Journal, Row
from tests.benchmarks.peers.plan import Load, Plan, Scene
from tests.benchmarks.peers.servers.model import Model
from tests.server_process import ROOT

CHECKED_PICTURES = 10
# How far a score may be from the offline one, whose batch was another; relative, for statistics have their own scales.
SCORE_TOLERANCE = 1e-3
# More than this used by others while a load was measured, and it is measured again.
CALM_CORES = 0.1


class OutOfTimeError(Exception):
    """The slice of time is over; another run goes on."""


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


@dataclass
class Contest:
    """The contest on one folder."""

    plan: Plan
    journal: Journal
    folder: Path
    python: Path  # of the peers
    ends_at: float = math.inf

    def run(self, scenes: Sequence[Scene]) -> None:
        """Measure what is not measured yet; raises OutOfTimeError where that does not fit."""
        for bundle in dict.fromkeys(scene.bundle for scene in scenes):
            own_scenes = [scene for scene in scenes if scene.bundle == bundle]
            with Arena(own_scenes, self.folder, self.python) as arena:
                names = dict.fromkeys(name for scene in own_scenes for name in scene.servers)
                settings = {name: self._best_settings(name, arena) for name in names}
                splits = {scene.body: self._best_split(scene, arena) for scene in own_scenes}
                for number, scene in itertools.product(range(self.plan.rounds), own_scenes):
                    self._closed_round(number, scene, arena, settings, splits[scene.body])
                for number, scene in itertools.product(range(self.plan.rounds), own_scenes):
                    self._open_round(number, scene, arena, settings)

    def _closed_round(
        self, number: int, scene: Scene, arena: Arena, settings: Mapping[str, Settings], split: Row
    ) -> None:
        ceiling = partial(self._ceiling, scene, arena, "--split", json.dumps(split))
        self._measure({**scene.key, "kind": "ceiling", "round": number}, ceiling)
        for load, name in itertools.product(self.plan.closed_loads(), in_turn(scene.servers, number)):
            forms = [settings[name]["form"]]
            if name == "service" and load.size == self.plan.forms_clients:
                forms = list(arena.contestants[name].forms)
            for form in forms:
                entry = Entry(name, form, scene)
                start = partial(arena.server, name, settings[name])
                self._measure(entry.key(load, number), partial(self._closed, start, arena.requests(entry), load))

    def _open_round(self, number: int, scene: Scene, arena: Arena, settings: Mapping[str, Settings]) -> None:
        capacities = {name: capacity(self.journal, name, scene.key) for name in scene.servers}
        for load, name in self.plan.open_loads(in_turn(scene.servers, number)):
            per_second = load.size / 100 * capacities["service" if load.of == "service" else name]
            if per_second > capacities[name]:
                continue
            entry = Entry(name, settings[name]["form"], scene)
            start = partial(arena.server, name, settings[name])
            self._measure(
                entry.key(load, number), partial(self._open, start, arena.requests(entry), per_second, number)
            )

    def _measure(self, key: Row, figures: Callable[[], Row]) -> Row:
        if time.monotonic() > self.ends_at and not any(self.journal.matching(key)):
            raise OutOfTimeError
        return self.journal.measure(key, figures)

    def _closed(self, start: Callable[[], Running], requests: Path, load: Load) -> Row:
        return self._load(start(), requests, self.plan.seconds, "--clients", str(load.size))

    def _open(self, start: Callable[[], Running], requests: Path, per_second: float, seed: int) -> Row:
        arguments = ["--per-second", str(per_second), "--seed", str(seed)]
        return self._load(start(), requests, self.plan.open_seconds, *arguments) | {"per_second": per_second}

    def _load(self, server: Running, requests: Path, seconds: float, *arguments: str) -> Row:
        """Put a load to one server; the row has what a request cost it, too."""
        command = [sys.executable, "-m", "tests.benchmarks.load", str(server.port), str(requests), *arguments]
        command += ["--seconds", str(seconds), "--warm-up-seconds", str(self.plan.warm_up_seconds)]

        def once() -> Row:
            with server.on_its_turn():
                row = output_of(command, beside=server.process.pid)
                memory = process_tree.memory_bytes(server.process.pid)
            each = max(1, row["exchanges"])
            spent = {"cpu_seconds": row.pop("beside_cpu_seconds") / each, "memory_bytes": memory}
            spent["generator_cpu_seconds"] = row.pop("command_cpu_seconds") / each
            return row | spent | {"ready_seconds": server.ready_seconds}

        return calmest(once, self.plan.attempts)

    def _best_settings(self, name: str, arena: Arena) -> Settings:
        """Return the settings with which a server is fastest at one client and at many, with the largest pictures."""
        contestant = arena.contestants[name]
        if not self.plan.is_tuned:
            return contestant.candidates[0]

        def speed(settings: Settings) -> float:
            key = {"kind": "tuning", "bundle": arena.scenes[0].bundle, "server": name, "settings": settings}
            speed: float = self._measure(key, partial(self._tuning, arena, contestant, settings))["speed"]
            return speed

        if len(contestant.candidates) == 1:
            return contestant.candidates[0]
        best = max(contestant.candidates, key=speed)
        for change in contestant.changes:
            best = max(best, best | change, key=speed)
        return best

    def _tuning(self, arena: Arena, contestant: Contestant, settings: Settings) -> Row:
        """Return how fast *settings* are; those with which the server does not work are no candidate."""
        requests = arena.requests(Entry(contestant.name, settings["form"], arena.scenes[-1]))
        loads = [Load("closed", 1), Load("closed", self.plan.forms_clients)]
        try:
            with arena.started(contestant, settings) as server:
                rates = [self._closed(lambda: server, requests, load)["requests_per_second"] for load in loads]
        except PeerError as error:
            return {"speed": 0.0, "failed": str(error)}
        return {"rates": rates, "speed": statistics.geometric_mean(rates)}

    def _best_split(self, scene: Scene, arena: Arena) -> Row:
        if not self.plan.is_tuned:
            return asdict(shapes(CORES)[0])
        search = partial(self._ceiling, scene, arena, "--search")
        split: Row = self._measure({**scene.key, "kind": "split"}, search)["split"]
        return split

    def _ceiling(self, scene: Scene, arena: Arena, *arguments: str) -> Row:
        command = [sys.executable, "-m", "tests.benchmarks.peers.ceiling", str(scene.bundle_path)]
        command += [str(arena.pictures(scene)), *arguments, "--seconds", str(self.plan.seconds)]
        return calmest(partial(output_of, command), self.plan.attempts)


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


def capacity(journal: Journal, server: str, scene: Mapping[str, str]) -> float:
    """Return the best rate of a server's closed loops in its own form of request."""
    key = {**scene, "kind": "load", "server": server}
    key["form"] = next(journal.matching(key))["form"]  # one client comes first, and in one form
    loads = {row["load"] for row in journal.matching(key) if row["load"].startswith("closed")}
    return max(journal.median(key | {"load": load}, "requests_per_second") or 0.0 for load in loads)


def in_turn(servers: Sequence[str], number: int) -> list[str]:
    """Return the servers in the order of a round: another begins each time."""
    begin = number % len(servers)
    return [*servers[begin:], *servers[:begin]]


def calmest(measure: Callable[[], Row], attempts: int) -> Row:
    """Return what is measured; where others used the machine meanwhile, measure again and keep the calmest."""
    rows = [measure()]
    while rows[-1]["others_cores"] > CALM_CORES and len(rows) < attempts:
        rows.append(measure())
    return min(rows, key=lambda row: row["others_cores"])


def output_of(command: list[str], beside: int | None = None) -> Row:
    """Return what *command* prints, with the processor time of it and of the process tree *beside* it."""

    def spent_by_us() -> tuple[float, float]:
        return process_tree.ended_children_cpu_seconds(), 0.0 if beside is None else process_tree.cpu_seconds(beside)

    began_at, machine, before = time.monotonic(), process_tree.machine_cpu_seconds(), spent_by_us()
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    own, of_beside = (after - then for after, then in zip(spent_by_us(), before, strict=True))
    others = process_tree.machine_cpu_seconds() - machine - own - of_beside
    row: Row = json.loads(done.stdout)
    row |= {"command_cpu_seconds": own, "beside_cpu_seconds": of_beside}
    return row | {"others_cores": others / (time.monotonic() - began_at)}
