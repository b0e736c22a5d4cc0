"""A day in miniature: what a service, its Prometheus and its alerts go through, each after the other and for real.

    python -m tests.e2e.drill --own DIR --foreign DIR

The service serves the shipped bundle, or the one named, as a process of its own; Prometheus scrapes it every second
and evaluates the project's rules, hastened so that an hour takes some eight seconds. Each phase of the day lasts until
the alerts that belong to it fire, or until all are quiet again. At the end every answer must be accounted for.
"""

import argparse
import contextlib
import io
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx
from PIL import Image, ImageFilter

from service.settings import DEFAULT_BUNDLE
from tests.e2e.faulty_service import FAULT_FILE
from tests.e2e.traffic import Ledger, Request, Traffic, changed, mix_of
from tests.prometheus_process import PrometheusProcess, hastened_rules, running_prometheus
from tests.server_process import ROOT, ServerProcess, environment, running_server

HASTE = 480  # an hour in 7.5 seconds
PER_SECOND = 80
FOREIGN_SHARE = 0.3
BLUR_PIXELS = 1.5
# A phase that has not come to its end by then never will.
PATIENCE_SECONDS = 150
# Longer than the rules for verdicts look back, hastened: what is quiet so long is quiet.
QUIET_SECONDS = 10
CALIBRATION_PICTURES = 400

DRIFT = frozenset({"MosGuardDriftRejects", "MosGuardDriftPValues"})
# What strangers and a blurred camera may set off beside the alerts that a phase waits for.
VERDICTS = DRIFT | {"MosGuardInRatioLow"}
BUDGET = frozenset({"MosGuardErrorBudgetBurnsFast", "MosGuardErrorBudgetBurns", "MosGuardErrorBudgetLeaks"})
# They speak of the machine, which the drill shares with whatever else runs on it.
OF_THE_MACHINE = frozenset({"MosGuardLatencyHigh", "MosGuardQueueGrows"})


class Change(NamedTuple):
    """Alerts that began or ceased to fire, and when, in seconds of the day."""

    seconds: float
    phase: str
    began: frozenset[str]
    ceased: frozenset[str]


@dataclass
class Day:
    """What happened: each phase with the time it took, each change of alerts, and the books."""

    phases: dict[str, float] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    known_judges: set[tuple[str, float]] = field(default_factory=set)
    counted: dict[str, float] = field(default_factory=dict)  # the service's own requests by status

    def fired(self, phase: str) -> set[str]:
        """The alerts that began to fire in *phase*."""
        return {name for change in self.changes if change.phase == phase for name in change.began}


class UnexpectedAlerts(AssertionError):
    """An alert fired that does not belong to the phase, or one that does never came."""


@dataclass
class Drill:
    """The parts that play on the day, and the day as it goes on."""

    server: ServerProcess
    prometheus: PrometheusProcess
    traffic: Traffic
    say: Callable[[str], None]
    day: Day = field(default_factory=Day)
    firing: frozenset[str] = frozenset()
    began_at: float = field(default_factory=time.monotonic)

    def until(self, phase: str, reached: Callable[[frozenset[str]], bool], allowed: frozenset[str]) -> None:
        """Go on until the alerts that fire satisfy *reached*; raises UnexpectedAlerts for any but the *allowed*."""
        begin = time.monotonic()
        self.say(f"{self._seconds():4.0f} s  {phase}")
        while True:
            self._look(phase)
            if unexpected := self.firing - allowed:
                raise UnexpectedAlerts(f"{phase}: {sorted(unexpected)} fired, which has no reason to.")
            if reached(self.firing):
                break
            if time.monotonic() - begin > PATIENCE_SECONDS:
                raise UnexpectedAlerts(f"{phase}: at its end {sorted(self.firing)} fire. {self.server.log.read_text()}")
            time.sleep(0.25)
        self.day.phases[phase] = time.monotonic() - begin

    def until_fired(self, phase: str, wanted: frozenset[str], beside: frozenset[str] = frozenset()) -> None:
        """Go on until every one of *wanted* fires, whatever of those *beside* does."""
        self.until(phase, lambda firing: wanted <= firing, wanted | beside)

    def until_quiet(self, phase: str, still: frozenset[str]) -> None:
        """Go on until nothing fires, for as long as the rules look back; *still* may fire in the meantime."""
        self.until(phase, lambda firing: not firing, still)
        quiet_until = time.monotonic() + QUIET_SECONDS
        self.until(f"{phase}, and stays so", lambda _: time.monotonic() > quiet_until, frozenset())

    def _look(self, phase: str) -> None:
        now = frozenset(self.prometheus.firing()) - OF_THE_MACHINE
        if now == self.firing:
            return
        self.day.changes.append(Change(self._seconds(), phase, now - self.firing, self.firing - now))
        self.say(f"{self._seconds():4.0f} s    {_told(now - self.firing, self.firing - now)}")
        self.firing = now

    def _seconds(self) -> float:
        return time.monotonic() - self.began_at


def live_through(
    folder: Path, own: Sequence[bytes], foreign: Sequence[bytes], *, bundle: Path, say: Callable[[str], None]
) -> Day:
    """Live through the whole day in *folder* with pictures of the bundle's classes and *foreign* ones.

    Raises UnexpectedAlerts where an alert fires that should not, or does not that should.
    """
    normal = [Request("own", content) for content in own]
    strangers = [Request("foreign", content) for content in foreign]
    blurred = changed(normal, "blurred", blur)
    link = folder / "served"
    link.symlink_to(shutil.copytree(bundle, folder / "first"))
    with _players(folder, link, mix_of(normal, strangers, 0.0), say) as drill:
        drill.day.known_judges.add(judge_in_service(drill.server))
        drill.until_quiet("normal traffic: quiet", still=frozenset())

        drill.traffic.change(mix_of(normal, strangers, FOREIGN_SHARE))
        drill.until_fired("three in ten are strangers", frozenset({"MosGuardDriftRejects"}), beside=VERDICTS)
        drill.traffic.change(mix_of(normal, strangers, 0.0))
        drill.until_quiet("normal again: quiet", still=VERDICTS)

        drill.traffic.change(mix_of(blurred, strangers, 0.0))
        drill.until_fired("the camera blurs", DRIFT, beside=VERDICTS)

        turn(link, corrupted(bundle, folder / "corrupt"))
        drill.server.process.send_signal(signal.SIGHUP)
        refused = frozenset({"MosGuardBundleRefused"})
        drill.until_fired("a corrupt bundle is pushed", refused, beside=VERDICTS)

        (folder / FAULT_FILE).touch()
        down = frozenset({"MosGuardNoReplicaReady"})
        anything = VERDICTS | BUDGET | refused | down
        drill.until_fired("the engine fails", down, beside=anything)
        (folder / FAULT_FILE).unlink()
        drill.until("the engine is back", lambda firing: not firing & down, anything)

        with calibrating(bundle, folder / "second", [picture.content for picture in blurred]) as job:
            drill.until("the job calibrates on the blurred camera", lambda _: job.poll() is not None, anything - down)
            assert job.returncode == 0
        turn(link, folder / "second")
        drill.server.process.send_signal(signal.SIGHUP)
        drill.until_quiet("the new calibration is served: quiet", still=anything - down)
        drill.day.known_judges.add(judge_in_service(drill.server))
    return drill.day


@contextlib.contextmanager
def _players(folder: Path, bundle: Path, mix: Iterator[Request], say: Callable[[str], None]) -> Iterator[Drill]:
    """The service, Prometheus and the traffic, all running while the block does; the books are closed at its end."""
    settings = {"bundle": bundle, "canary_interval_seconds": 1, "decode_threads": 1, "intra_op_threads": 1}
    settings["log_level"] = "warning"  # without a line for each answer
    with running_server(folder, module="tests.e2e.faulty_service", **settings) as server:
        server.wait_until_ready()
        targets = {"mos-guard": {"drill": server.port}}
        with running_prometheus(folder, targets, hastened_rules(folder, HASTE)) as prometheus:
            while not prometheus.query("up") or prometheus.firing():  # of the time before its first scrape
                time.sleep(0.25)
            ledger = Ledger()
            with Traffic(server, mix, ledger, per_second=PER_SECOND) as traffic:
                drill = Drill(server, prometheus, traffic, say, Day(ledger=ledger))
                yield drill
            drill.day.counted = {
                status: server.metric(f'mos_requests_total{{code="{status}",route="/predict"}}')
                for status in ("200", "503")
            }


def judge_in_service(server: ServerProcess) -> tuple[str, float]:
    """The version and the threshold that judge now."""
    card = httpx.get(f"{server.url}/model", timeout=60).json()
    return card["version"], card["threshold"]


def blur(content: bytes) -> bytes:
    """The picture as a camera out of focus would take it."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").filter(ImageFilter.GaussianBlur(BLUR_PIXELS)).save(buffer, "PNG")
    return buffer.getvalue()


def turn(link: Path, target: Path) -> None:
    """Let *link* lead to *target*, in one step."""
    draft = link.with_name("draft")
    draft.symlink_to(target)
    draft.replace(link)


def corrupted(bundle: Path, place: Path) -> Path:
    """A copy of *bundle* with one byte of its model changed."""
    copy = Path(shutil.copytree(bundle, place))
    model = bytearray((copy / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (copy / "model.onnx").write_bytes(model)
    return copy


@contextlib.contextmanager
def calibrating(bundle: Path, place: Path, pictures: Sequence[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The calibration job, at work on a copy of *bundle* at *place* and on some of the *pictures*."""
    copy = shutil.copytree(bundle, place)
    folder = place.with_name("calibration-pictures")
    folder.mkdir()
    for i, content in enumerate(pictures[:CALIBRATION_PICTURES]):
        (folder / f"{i:05}.png").write_bytes(content)
    command = [sys.executable, "-m", "training", "calibrate", "--bundle", copy, "--data", folder]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment({}) | {"PYTHONPATH": str(ROOT)}, **silent) as job:
        yield job


def pictures_in(folder: Path, most: int) -> list[bytes]:
    """At most so many pictures of all below *folder*, drawn and in an order of chance."""
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    return [path.read_bytes() for path in random.Random(0).sample(files, min(most, len(files)))]


def _told(began: frozenset[str], ceased: frozenset[str]) -> str:
    parts = [f"fires: {', '.join(sorted(began))}"] if began else []
    return "; ".join(parts + ([f"quiet: {', '.join(sorted(ceased))}"] if ceased else []))


def main() -> None:
    """Live through the day and tell it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own", type=Path, required=True, help="pictures of the bundle's classes, not trained on")
    parser.add_argument("--foreign", type=Path, required=True, help="pictures of anything else")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="a calibrated bundle (the shipped one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        day = live_through(
            Path(folder), pictures_in(given.own, 3000), pictures_in(given.foreign, 600), bundle=given.bundle, say=print
        )
    print(f"{day.ledger.answered} answers: {dict(day.ledger.statuses)}; without an answer: {len(day.ledger.lost)}")
    for (kind, decision), count in sorted(day.ledger.decisions.items()):
        print(f"  {kind} judged {decision}: {count}")


if __name__ == "__main__":
    main()
