"""The rows of a journal as Markdown: medians over rounds, and ratios within each round."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import machine
from tests.benchmarks.peers.journal import Journal

TITLES = {"service": "this service", "litserve": "LitServe", "bentoml": "BentoML", "plain": "plain FastAPI loop"}
PEERS = ("litserve", "bentoml", "plain")
FIGURES = ("requests_per_second", "p50_ms", "p95_ms", "p99_ms")
P99_LIMITS_MS = (50, 100, 250)
Key = Mapping[str, Any]

_INTRODUCTION = """# Speed beside other servers

Medians over interleaved rounds; a ratio is the median of the ratios within the rounds. Every server decodes with the
same code and runs the same ONNX file, has answered some pictures as the bundle does offline, runs with the settings
that a search found fastest, and logs no requests. The load generator shares the machine's cores. No server is started
anew between loads: what its batcher has learnt under one, it brings to the next.

`closed 32` are 32 clients, each of which sends again when it has its answer. `open 80` are Poisson arrivals at 80 % of
the server's own capacity (its best closed loop), `open 80 of service` at 80 % of this service's, which a peer that
cannot do as much is not put to. In an open loop a latency begins when the request was due. CPU and memory are of all
processes of a server, memory as its proportional share. Bundles: `shipped`, of 32 x 32 pixels, and `own`, which is
EfficientNet-Lite0 at 224 x 224 pixels as `train` makes it of a user's pictures.

![Rates of closed loops and p99 of open loops, server by server](RESULTS.png)"""

_CAPACITY = """## Capacity

The highest Poisson rate measured at which p99 stayed below the limit and nothing failed, in requests a second of one
replica. Replicas = ceil(wanted rate / that rate / headroom), with a headroom of 0.7 or so: the share of that rate that
a replica is given on an ordinary day, so that the loss of one, or a burst, does not break the limit."""


def report(folder: Path, journal: Journal) -> str:
    """Return all tables of *journal*, and where its figures were taken by the description in *folder*."""
    scenes = scenes_of(journal)
    parts = [_INTRODUCTION, _where(folder), _calm(journal), "## In short", _in_short(journal, scenes)]
    parts += ["## Settings and starts", _settings(journal), "## Without HTTP", _ceilings(journal, scenes)]
    for scene in scenes:
        parts += [f"## {scene['bundle']} bundle, {scene['body']}", _loads(journal, scene)]
    if capacity := _capacity(journal, scenes):
        parts += [_CAPACITY, capacity]
    return "\n\n".join(filter(None, parts)) + "\n"


def scenes_of(journal: Journal) -> list[dict[str, str]]:
    """Return each bundle and body that loads were measured with, as part of a key."""
    pairs = dict.fromkeys((row["bundle"], row["body"]) for row in journal.matching({"kind": "load"}))
    return [{"bundle": bundle, "body": body} for bundle, body in pairs]


def main_form(journal: Journal, scene: Key, server: str) -> dict[str, Any]:
    """Return the key of a server's rows in the form of request that it is compared in: the one at one client."""
    key = {**scene, "kind": "load", "server": server}
    first = next(journal.matching(key), {"form": None})
    return key | {"form": first["form"]}


def load_names(journal: Journal, key: Key) -> list[str]:
    """Return the loads that *key* was measured under, as they came."""
    return list(dict.fromkeys(row["load"] for row in journal.matching(key)))


def _where(folder: Path) -> str:
    path = folder / machine.FILE
    if not path.exists():
        return ""
    told = json.loads(path.read_text())
    versions = ("; ".join(f"{name} {version}" for name, version in told[side].items()) for side in ("service", "peers"))
    lines = [f"{told['processor']}, {told['cores']} cores, {told['system']}.", "", f"    {told['command']}", ""]
    return "\n".join(
        [*lines, *(f"- {side}: {text}" for side, text in zip(("service", "peers"), versions, strict=True))]
    )


def _calm(journal: Journal) -> str:
    """What else the machine did meanwhile: what was measured beside much of that is noisy."""
    rows = [row for row in journal.matching({"kind": "load"}) if "others_cores" in row]
    if not rows:
        return ""
    others = sorted(row["others_cores"] for row in rows)
    generator_ms = [1000 * row["generator_cpu_seconds"] for row in rows]
    return (
        f"In the median measurement the load generator took {statistics.median(generator_ms):.2f} ms of a core a "
        f"request, and others on the machine used {statistics.median(others):.2f} cores; {others[-1]:.2f} at most."
    )


def _in_short(journal: Journal, scenes: Sequence[Key]) -> str:
    head = ["bundle, pictures", "of the ceiling, 32 clients", *(f"times {TITLES[peer]}, 32 clients" for peer in PEERS)]
    head += ["p50 at 1 client, of LitServe's", "p99 below the peers'"]
    return _markdown(head, ([_name(scene), *_goals(journal, scene)] for scene in scenes))


def _goals(journal: Journal, scene: Key) -> list[str]:
    service = main_form(journal, scene, "service")
    at_32 = service | {"load": "closed 32"}
    rate = "requests_per_second"
    cells = [_number(journal.ratio(at_32, {**scene, "kind": "ceiling"}, rate))]
    for peer in PEERS:
        cells.append(_number(journal.ratio(at_32, main_form(journal, scene, peer) | {"load": "closed 32"}, rate)))
    one = {"load": "closed 1"}
    cells.append(_number(journal.ratio(service | one, main_form(journal, scene, "litserve") | one, "p50_ms")))
    wins = list(_p99_wins(journal, scene))
    return [*cells, f"{sum(wins)} of {len(wins)}" if wins else ""]


def _p99_wins(journal: Journal, scene: Key) -> Iterable[bool]:
    """Say of each peer and load whether the service's p99 is lower; a peer that cannot do the rate has lost."""
    for peer in PEERS:
        others = main_form(journal, scene, peer)
        if not any(journal.matching(others)):
            continue
        for load in load_names(journal, main_form(journal, scene, "service")):
            is_closed = load.startswith("closed")
            same = others | {"load": load if is_closed else f"{load} of service"}
            own = journal.median(main_form(journal, scene, "service") | {"load": load}, "p99_ms")
            other = journal.median(same, "p99_ms")
            is_asked = is_closed or load in load_names(journal, others)
            if own is not None and is_asked:
                yield own < (math.inf if other is None else other)


def _settings(journal: Journal) -> str:
    """Each server's settings, how long it takes to be ready, and what it holds in memory at most."""
    lines = []
    tuned = {(row["bundle"], row["server"]): row for row in sorted(journal.matching({"kind": "tuning"}), key=_speed)}
    for key in dict.fromkeys((row["bundle"], row["server"]) for row in journal.matching({"kind": "load"})):
        rows = list(journal.matching({"kind": "load", "bundle": key[0], "server": key[1]}))
        settings = tuned[key]["settings"] if key in tuned else {"form": rows[0]["form"]}
        ready = journal.median({"kind": "load", "bundle": key[0], "server": key[1]}, "ready_seconds")
        memory = max(row["memory_bytes"] for row in rows) / 2**20
        lines.append([key[0], TITLES[key[1]], _told(settings), _number(ready), _number(memory)])
    return _markdown(["bundle", "server", "settings", "ready after s", "memory MiB"], lines)


def _told(settings: Key) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def _speed(row: Key) -> float:
    speed: float = row["speed"]
    return speed


def _ceilings(journal: Journal, scenes: Sequence[Key]) -> str:
    lines = []
    for scene in scenes:
        first = next(journal.matching({**scene, "kind": "ceiling"}), None)
        if first is not None:
            rate = journal.median({**scene, "kind": "ceiling"}, "requests_per_second")
            lines.append([_name(scene), _number(rate), _told(first["split"])])
    return _markdown(["bundle, pictures", "pictures/s", "the best split of those tried"], lines)


def _loads(journal: Journal, scene: Key) -> str:
    """All loads of a scene, and what each server's figures are beside the service's."""
    service = main_form(journal, scene, "service")
    lines = []
    rows = journal.matching({**scene, "kind": "load"})
    keys = dict.fromkeys((row["load"], row["server"], row["form"]) for row in rows)
    for load, server, form in sorted(keys, key=lambda key: _order(key[0], key[1])):
        key = {**scene, "kind": "load", "load": load, "server": server, "form": form}
        figures = [_number(journal.median(key, figure)) for figure in FIGURES]
        cpu = journal.median(key, "cpu_seconds")
        failed = sum(row["failed"] for row in journal.matching(key))
        own = service | {"load": load.removesuffix(" of service")}
        shares = [_number(journal.ratio(key, own, figure)) for figure in ("requests_per_second", "p99_ms")]
        lines.append([load, TITLES[server], form, *figures, _number(1000 * (cpu or 0)), str(failed or ""), *shares])
    head = ["load", "server", "form", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms a request", "failed"]
    return _markdown([*head, "rate, of this service's", "p99, of this service's"], lines)


def _capacity(journal: Journal, scenes: Sequence[Key]) -> str:
    lines = []
    for scene in scenes:
        service = main_form(journal, scene, "service")
        opens = [service | {"load": load} for load in load_names(journal, service) if load.startswith("open")]
        if opens:
            rates = [_rate_below(journal, opens, limit_ms) for limit_ms in P99_LIMITS_MS]
            lines.append([_name(scene), *(_number(rate) if rate else "none" for rate in rates)])
    return _markdown(["bundle, pictures", *(f"p99 below {limit} ms" for limit in P99_LIMITS_MS)], lines)


def _rate_below(journal: Journal, keys: Sequence[Key], limit_ms: float) -> float:
    """Return the best rate among open loops that kept p99 below *limit_ms* and failed nothing; 0 where none did."""
    kept = [
        journal.median(key, "requests_per_second") or 0.0
        for key in keys
        if (journal.median(key, "p99_ms") or math.inf) < limit_ms
        and not any(row["failed"] for row in journal.matching(key))
    ]
    return max(kept, default=0.0)


def _order(load: str, server: str) -> tuple[bool, int, bool, int]:
    kind, size, *rest = load.split()
    return kind == "open", int(size), bool(rest), list(TITLES).index(server)


def _name(scene: Key) -> str:
    return f"{scene['bundle']}, {scene['body']}"


def _number(value: float | None) -> str:
    """Three digits that count, and no exponent."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def _markdown(head: list[str], lines: Iterable[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) if len(rows) > 2 else ""
