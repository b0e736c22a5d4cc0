"""The verdict log: what was decided, one JSON line a verdict, without pixels and without who asked."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from service.bundle import Manifest
from service.verdict import Verdict
from service.watch.background import BackgroundWriter
from service.watch.json_lines import LineFile, json_line, timestamp


class VerdictLog:
    """Writes the verdicts of a *share* of all requests, from a thread: no answer waits, whatever the disk does.

    At most *max_files* of at most *max_bytes* are kept. A context manager, whose end writes what waits, as far as the
    disk takes it; raises SettingError where *path* cannot be written.
    """

    def __init__(self, path: Path, *, share: float, max_bytes: int, max_files: int) -> None:
        self._share = share
        self._file = LineFile(path, setting="MOS_VERDICT_LOG", max_bytes=max_bytes, max_files=max_files)
        self._writer = BackgroundWriter(self._write, name="verdict-log")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._file.close()

    @property
    def dropped_lines(self) -> int:
        """The number of lines that a blocked, full or broken disk has cost."""
        return self._writer.dropped

    def record(
        self, request_id: str, index: int, verdict: Verdict, manifest: Manifest, *, trace_id: str | None = None
    ) -> None:
        """Note the verdict on picture *index* of a request, given by the model of *manifest*."""
        if is_sampled(request_id, self._share):
            self._writer.add(_Entry(time.time(), request_id, index, verdict, manifest, trace_id))

    def _write(self, entries: "list[_Entry]") -> int:
        return self._file.write([_line(entry, self._share) for entry in entries])


@dataclass(slots=True)
class _Entry:
    """A verdict before it is a line: that is made in the thread, away from the answers."""

    seconds: float  # of time.time
    request_id: str
    index: int
    verdict: Verdict
    manifest: Manifest
    trace_id: str | None


def is_sampled(request_id: str, share: float) -> bool:
    """Say whether a request is among the *share* of all: by a hash of its id, so that replicas and retries agree."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _line(entry: _Entry, share: float) -> bytes:
    verdict, manifest = entry.verdict, entry.manifest
    return json_line(
        {
            "kind": "verdict",
            "time": timestamp(entry.seconds),
            "request_id": entry.request_id,
            "index": entry.index,
            "trace_id": entry.trace_id,
            "model": manifest.name,
            "version": manifest.version,
            "model_sha256": manifest.model_sha256,
            "threshold": verdict.threshold,
            "label": verdict.label,
            "group": verdict.group,
            "decision": verdict.decision,
            "decided_by": verdict.decided_by,
            "mos": verdict.mos,
            "score": verdict.score,
            "p_value": verdict.p_value,
            "sampled": share,
        }
    )
