"""The soak itself: a service, its traffic and its faults for a time, and what at the end did not hold."""

import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service.bundle import read_bundle
from tests.e2e.soak.books import SCORE_TOLERANCE, SoakBooks, judged_offline
from tests.e2e.soak.faults import FAULTS, Stage, swap
from tests.e2e.soak.mix import MAX_BODY_BYTES, MAX_PIXELS, mix
from tests.e2e.soak.vitals import Vitals
from tests.e2e.traffic import Traffic
from tests.server_process import ServerProcess, running_server

CLOSED_LOOP_CLIENTS = 32
CAPACITY_SECONDS = 8
WARM_UP_SECONDS = 5
WARM_UP_SWAPS = 4
# The heap moves by so much without anything being lost.
MOST_GROWTH_BYTES = 48 * 2**20
MOST_GROWTH_SHARE = 0.1
# Two bundles during a swap, and what Python starts for a moment.
MOST_MORE_THREADS = 4
# Connections of the traffic and of the faults, and the files of the process.
MOST_DESCRIPTORS = 200
VERDICT_LOG = "verdicts"


@dataclass
class Report:
    """What happened, and every sentence about what should not have."""

    books: SoakBooks
    stage: Stage
    vitals: Vitals
    seconds: float
    per_second: float
    faults: Counter[str]
    lines: int = 0  # of the verdict log
    dropped_lines: float = 0.0
    complaints: list[str] = field(default_factory=list)


def soak(
    folder: Path,
    bundles: Sequence[Path],
    pictures: Sequence[bytes],
    *,
    seconds: float,
    seed: int,
    pause_seconds: float,
    per_second: float | None = None,
    share: float = 0.8,
    say: Callable[[str], None] = print,
) -> Report:
    """Soak a service that serves *bundles* in turns, in *folder*, for *seconds*.

    The load is *per_second* requests or, where that is None, a *share* of what a closed loop of the same mix reaches.
    Between two faults nothing goes wrong for *pause_seconds*. Linux only.
    """
    offline = {read_bundle(bundle).manifest.version: judged_offline(bundle, pictures) for bundle in bundles}
    name = read_bundle(bundles[0]).manifest.name
    link = folder / "served"
    link.symlink_to(bundles[0])
    with _service(folder, link) as server:
        books = SoakBooks(offline)
        requests = mix(pictures, name, seed)
        if per_second is None:
            per_second = share * _capacity(server, requests, books)
            say(f"{per_second:.1f} requests/s are {share:.0%} of capacity")
        else:
            with Traffic(server, requests, books, per_second=per_second):
                time.sleep(WARM_UP_SECONDS)
        stage = Stage(server, folder, bundles, link, pictures[0], books)
        for _ in range(WARM_UP_SWAPS):  # over the first ones the heap settles
            swap(stage)
        chance = random.Random(seed)
        with (
            Vitals(server.process.pid) as vitals,
            Traffic(server, requests, books, per_second=per_second, chance=chance),
        ):
            played = _play(stage, time.monotonic() + seconds, pause_seconds, chance, say)
        report = Report(books, stage, vitals, seconds, per_second, played)
        report.dropped_lines = server.metric('mos_log_lines_dropped_total{log="verdicts"}')
        report.complaints += [*_complaints_of_counts(report), *_complaints_of_vitals(vitals)]
    report.complaints += _complaints_of_the_log(report)
    return report


@contextmanager
def _service(folder: Path, bundle: Path) -> Iterator[ServerProcess]:
    settings = {"bundle": bundle, "max_body_bytes": MAX_BODY_BYTES, "max_pixels": MAX_PIXELS}
    settings |= {"canary_interval_seconds": 0.5, "verdict_log": VERDICT_LOG, "log_level": "warning"}
    # Longer than a busy machine stands still: what is late then is none of the service's faults.
    settings |= {"deadline_ms": 60_000, "body_timeout_ms": 60_000}
    with running_server(folder, module="tests.e2e.faulty_service", **settings) as server:
        server.wait_until_ready()
        yield server


def _capacity(server: ServerProcess, requests: Iterator, books: SoakBooks) -> float:
    """How many requests of the mix are answered in a second when clients ask as fast as they are answered."""
    with Traffic(server, requests, books, per_second=math.inf, most_at_once=CLOSED_LOOP_CLIENTS):
        time.sleep(WARM_UP_SECONDS)
        before = books.counts.total()
        time.sleep(CAPACITY_SECONDS)
        return (books.counts.total() - before) / CAPACITY_SECONDS


def _play(
    stage: Stage, end_at: float, pause_seconds: float, chance: random.Random, say: Callable[[str], None]
) -> Counter[str]:
    """Let every fault come, in an order of chance, again and again until *end_at*."""
    played: Counter[str] = Counter()
    waiting: list[Callable[[Stage], None]] = []
    while time.monotonic() + pause_seconds < end_at:
        time.sleep(pause_seconds)
        if not waiting:
            waiting = chance.sample(FAULTS, len(FAULTS))
        fault = waiting.pop()
        say(f"{end_at - time.monotonic():5.0f} s left: {fault.__name__.replace('_', ' ')}")
        fault(stage)
        played[fault.__name__] += 1
    time.sleep(max(0.0, end_at - time.monotonic()))
    return played


def _complaints_of_counts(report: Report) -> Iterator[str]:
    """What of the answers is wrong, or is told otherwise by the service's own series."""
    books, stage = report.books, report.stage
    yield from (f"lost: {each}" for each in books.lost[:20])
    yield from books.wrong
    counted = _counted_by_the_service(stage.server)
    for route in {route for route, _ in books.counts} - {"/metrics"}:
        own = {code: count for (of, code), count in books.counts.items() if of == route}
        theirs = {code: count for (of, code), count in counted.items() if of == route}
        abandoned = stage.abandoned if route == "/predict" else 0
        beyond = sum(theirs.values()) - sum(own.values())
        if beyond != abandoned or any(theirs.get(code, 0) < count for code, count in own.items()):
            yield f"{route}: the service counts {theirs}, its clients {own} and {abandoned} that they left."
    for version in books.offline:
        if not books.versions[version]:
            yield f"version {version} never judged."


def _counted_by_the_service(server: ServerProcess) -> Counter[tuple[str, int]]:
    """`mos_requests_total` by route and status."""
    counted: Counter[tuple[str, int]] = Counter()
    for line in httpx.get(f"{server.url}/metrics", timeout=60).text.splitlines():
        if line.startswith("mos_requests_total{"):
            labels, _, value = line.partition("} ")
            names = dict(part.split("=") for part in labels.removeprefix("mos_requests_total{").split(","))
            counted[names["route"].strip('"'), int(names["code"].strip('"'))] = int(float(value))
    return counted


def _complaints_of_vitals(vitals: Vitals) -> Iterator[str]:
    """What grew."""
    before = vitals.median("memory_bytes", 0.2, 0.4)
    if vitals.growth("memory_bytes") > MOST_GROWTH_BYTES + MOST_GROWTH_SHARE * before:
        yield f"The memory grew by {vitals.growth('memory_bytes') / 1e6:.0f} MB from {before / 1e6:.0f} MB."
    if vitals.growth("threads") > MOST_MORE_THREADS:
        yield f"The threads grew by {vitals.growth('threads'):.0f}."
    if vitals.most("descriptors") > MOST_DESCRIPTORS:
        yield f"There were {vitals.most('descriptors'):.0f} descriptors."


def _complaints_of_the_log(report: Report) -> Iterator[str]:
    """What the verdict log, complete now, says otherwise than the answers did."""
    stage, books = report.stage, report.books
    logged: Counter[tuple[str, int, str]] = Counter()
    for path in stage.folder.glob(f"{VERDICT_LOG}*"):
        for line in path.read_bytes().splitlines():
            try:
                document = json.loads(line)
            except ValueError:
                continue  # torn when the disk was full, and counted as dropped
            logged[document["request_id"], document["index"], document["decision"]] += 1
    report.lines = logged.total()
    own = Counter((*key, decision) for key, decision in books.verdicts.items())
    missing, strange = (own - logged).total(), (logged - own).total()
    if missing > report.dropped_lines:
        yield f"{missing} verdicts are not in the log, which has dropped {report.dropped_lines:.0f} lines."
    if strange > stage.abandoned:
        yield f"{strange} lines of the log are of no answer, and {stage.abandoned} requests were left."


def table(report: Report, seed: int) -> str:
    """The report as a table in Markdown."""
    books, vitals = report.books, report.vitals
    fifths = [vitals.median("memory_bytes", part / 5, (part + 1) / 5) for part in range(5)]
    ranked = sorted(books.seconds)
    milliseconds = [1000 * ranked[int(share * (len(ranked) - 1))] for share in (0.5, 0.99)]
    played = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(report.faults.items()))
    by_version = ", ".join(f"{count} by {version}" for version, count in sorted(books.versions.items()))
    refused = ", ".join(f"{count} x {status}" for status, count in sorted(books.unavailable.items())) or "none"
    rows = {
        "time, seed": f"{report.seconds:.0f} s, {seed}",
        "load": f"{report.per_second:.1f} requests/s",
        "faults": played,
        "answers": f"{books.counts.total()} ({', '.join(f'{n} {kind}' for kind, n in sorted(books.kinds.items()))})",
        "lost, wrong": f"{len(books.lost)}, {len(books.wrong)}",
        "refused as unavailable or busy": refused,
        "verdicts compared with offline ones": by_version,
        "largest difference of a score": f"{books.largest_difference:.1e} (allowed {SCORE_TOLERANCE:.0e})",
        "p50, p99, hangs and stalls included": "{:.0f} ms, {:.0f} ms".format(*milliseconds),
        "memory (PSS), median of each fifth": f"{', '.join(f'{size / 1e6:.0f}' for size in fifths)} MB",
        "descriptors, threads at most": f"{vitals.most('descriptors'):.0f}, {vitals.most('threads'):.0f}",
        "lines of the verdict log, dropped": f"{report.lines}, {report.dropped_lines:.0f}",
        "what did not hold": f"{len(report.complaints)} things, see below" if report.complaints else "nothing",
    }
    lines = ["| soak | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([*lines, "", *report.complaints])
