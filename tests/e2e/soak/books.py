"""The books of a soak: each answer is checked when it comes, against what the model says offline, and counted."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from service.bundle import judging_of, read_bundle
from service.inference.engine import Engine
from service.verdict import Judge, Verdict
from tests.e2e.soak.mix import V2_ROUTE, Expected
from tests.e2e.traffic import Request
from training.bundling.canaries import pixels_of

# Sums in another order, as batches of other sizes make them, differ by less.
SCORE_TOLERANCE = 1e-3
MOST_WRONG = 20
# Said by a service that cannot judge now, or not so many: the first only while the engine is broken.
UNAVAILABLE, BUSY = (503, 504), 429


class Told(NamedTuple):
    """One verdict as an answer tells it."""

    score: float
    threshold: float
    decision: str


def judged_offline(bundle: Path, pictures: Sequence[bytes]) -> list[Verdict]:
    """What a bundle says of *pictures* without a service."""
    read = read_bundle(bundle)
    assert read.calibration is not None
    judge = Judge(**judging_of(read.manifest, read.calibration))
    engine = Engine(read, provider="cpu", max_batch_size=1)
    rows = (engine.predict([pixels_of(picture, read.manifest.input)]) for picture in pictures)
    return [judge.judge(row) for [row] in rows]


@dataclass
class SoakBooks:
    """What became of every request; *offline* has the verdicts on all pictures by version."""

    offline: Mapping[str, Sequence[Verdict]]
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)  # route and status
    kinds: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)  # verdicts, by who gave them
    verdicts: dict[tuple[str, int], str] = field(default_factory=dict)  # decision by request id and place
    unavailable: Counter[int] = field(default_factory=Counter)  # refused for the service's own sake
    seconds: list[float] = field(default_factory=list)  # of verdicts while nothing was broken
    largest_difference: float = 0.0  # of a score from the offline one
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _answered: set[str] = field(default_factory=set)
    _is_broken: bool = False
    _broken_until: float = 0.0

    @contextmanager
    def broken(self) -> Iterator[None]:
        """While the block runs, and for what was sent in it, the service may say that it cannot judge."""
        self._is_broken = True
        yield
        self._broken_until = time.monotonic()
        self._is_broken = False

    def lose(self, request: Request, error: httpx.TransportError) -> None:
        """Note that a request has no answer, which none may."""
        self.lost.append(f"{request.kind} {request.headers['X-Request-ID']}: {error!r}")

    def note(self, request: Request, response: httpx.Response, seconds: float) -> None:
        """Check an answer and count it."""
        expected: Expected = request.expected
        request_id = request.headers["X-Request-ID"]
        self.kinds[request.kind] += 1
        self.counts[expected.route, response.status_code] += 1
        if request_id in self._answered or response.headers.get("X-Request-ID") != request_id:
            self._complain(request, response, "it is answered twice, or by another's answer")
        self._answered.add(request_id)
        is_sound = not self._is_broken and time.monotonic() - seconds > self._broken_until
        if response.status_code == BUSY or (response.status_code in UNAVAILABLE and not is_sound):
            self.unavailable[response.status_code] += 1
        elif response.status_code != expected.status:
            self._complain(request, response, f"{expected.status} was due")
        elif expected.status == 200:
            self._check_verdicts(request, response)
            if expected.items and is_sound:
                self.seconds.append(seconds)
        elif expected.items and response.json()["code"] != expected.items[0]:
            self._complain(request, response, f"{expected.items[0]} was due")

    def _check_verdicts(self, request: Request, response: httpx.Response) -> None:
        expected: Expected = request.expected
        if not expected.items:
            return
        version, told = _told(expected.route, response)
        if len(told) != len(expected.items):
            self._complain(request, response, "another number of verdicts was due")
            return
        for place, (item, verdict) in enumerate(zip(expected.items, told, strict=True)):
            if isinstance(item, str) or isinstance(verdict, str):
                if item != verdict and verdict != "not_ready":
                    self._complain(request, response, f"{item} was due in place {place}")
                continue
            self.versions[version] += 1
            self.verdicts[request.headers["X-Request-ID"], place] = verdict.decision
            self._check_verdict(request, response, verdict, self.offline[version][item])

    def _check_verdict(self, request: Request, response: httpx.Response, told: Told, offline: Verdict) -> None:
        difference = abs(told.score - offline.score)
        self.largest_difference = max(self.largest_difference, difference)
        is_near = abs(offline.score - offline.threshold) <= SCORE_TOLERANCE
        is_decided_alike = told.decision == offline.decision or is_near
        if difference > SCORE_TOLERANCE or told.threshold != offline.threshold or not is_decided_alike:
            self._complain(request, response, f"offline it is {offline.decision}, {offline.score}")

    def _complain(self, request: Request, response: httpx.Response, why: str) -> None:
        if len(self.wrong) < MOST_WRONG:
            self.wrong.append(f"{request.kind}: {why}; {response.status_code} {response.text[:300]}")


def _told(route: str, response: httpx.Response) -> tuple[str, list[Told | str]]:
    """The version that judged, and each verdict of an answer, or the code of what has none."""
    if route == V2_ROUTE:
        return _told_in_tensors(response)
    documents = response.json() if route == "/predict/batch" else [response.json()]
    versions = {document["version"] for document in documents if "version" in document}
    assert len(versions) <= 1, "one answer, one judge"
    told: list[Told | str] = [
        document["code"] if "code" in document else Told(*(document[name] for name in Told._fields))
        for document in documents
    ]
    return next(iter(versions), ""), told


def _told_in_tensors(response: httpx.Response) -> tuple[str, list[Told | str]]:
    size = response.headers.get("Inference-Header-Content-Length")
    document: dict[str, Any] = json.loads(response.content[: int(size)] if size else response.content)
    binary = response.content[int(size) :] if size else b""
    tensors = {output["name"]: output.get("data") for output in document["outputs"]}
    scores = tensors["score"] or np.frombuffer(binary, "<f4").tolist()
    told: list[Told | str] = [
        Told(*values) for values in zip(scores, tensors["threshold"], tensors["decision"], strict=True)
    ]
    return document["model_version"], told
