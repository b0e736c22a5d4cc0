"""Measures the servers in turns: in each round every load is put to one server after the other, the others frozen."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.peers import process_tree
from tests.benchmarks.peers.arena import Arena, Entry
from tests.benchmarks.peers.calm import calmest, output_of
from tests.benchmarks.peers.ceiling import shapes
from tests.benchmarks.peers.contestants import CORES, Contestant, PeerError, Running, Settings
from tests.benchmarks.peers.journal import Journal, Row
from tests.benchmarks.peers.plan import Load, Plan, Scene


class OutOfTimeError(Exception):
    """The slice of time is over; another run goes on."""


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
        calm = partial(calmest, ceiling, self.plan.attempts)
        self._measure({**scene.key, "kind": "ceiling", "round": number}, calm)
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
        return output_of(command)


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
