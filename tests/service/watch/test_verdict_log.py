"""Each sampled verdict becomes one line that says what was decided and by which model, and nothing about the caller."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle, Manifest
from service.watch.background import MAX_WAITING
from service.watch.json_lines import LineFile
from service.watch.verdict_log import VerdictLog, is_sampled
from tests.full_disk import full_disk
from tests.service.watch.parts import VERDICT


@pytest.fixture
def manifest(tiny_bundle: Bundle) -> Manifest:
    return tiny_bundle.manifest


def verdict_log(path: Path, *, share: float = 1.0) -> VerdictLog:
    return VerdictLog(path, share=share, max_bytes=2**24, max_files=3)


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text().splitlines())


def test_a_line_says_what_was_decided_and_by_which_model(tmp_path: Path, manifest: Manifest) -> None:
    """Every member is there, and no other: whoever adds one thinks of whose data it is."""
    with verdict_log(tmp_path / "log", share=0.999999) as log:
        log.record("abc", 3, VERDICT, manifest, trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    [line] = lines_of(tmp_path / "log")
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "kind": "verdict",
        "request_id": "abc",
        "index": 3,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "model": "tiny",
        "version": "1",
        "model_sha256": manifest.model_sha256,
        "threshold": -0.9,
        "label": "red",
        "group": "warm",
        "decision": "in",
        "decided_by": "mos",
        "mos": -0.1,
        "score": -0.1,
        "p_value": 0.5,
        "sampled": 0.999999,
    }


def test_a_share_is_drawn_by_the_id(tmp_path: Path, manifest: Manifest) -> None:
    """Every replica and every retry decides alike, and a batch is logged whole or not at all."""
    with verdict_log(tmp_path / "log", share=0.25) as log:
        for number in range(2000):
            log.record(f"id-{number}", 0, VERDICT, manifest)
            log.record(f"id-{number}", 1, VERDICT, manifest)
    logged = [(line["request_id"], line["index"]) for line in lines_of(tmp_path / "log")]
    expected = [f"id-{number}" for number in range(2000) if is_sampled(f"id-{number}", 0.25)]
    assert logged == [(request_id, index) for request_id in expected for index in (0, 1)]
    assert 400 < len(expected) < 600


def test_the_ends_of_the_share_are_all_and_nothing() -> None:
    """1 takes every id, 0 takes none, and a larger share has all of a smaller one."""
    ids = [f"{number:032x}" for number in range(500)]
    assert all(is_sampled(request_id, 1.0) for request_id in ids)
    assert not any(is_sampled(request_id, 0.0) for request_id in ids)
    assert all(is_sampled(request_id, 0.5) for request_id in ids if is_sampled(request_id, 0.1))


def test_a_full_disk_costs_lines_that_are_counted(tmp_path: Path, manifest: Manifest) -> None:
    """What was recorded is in the file or among the dropped, and when there is room again lines come again."""
    with full_disk(2_000):
        log = verdict_log(tmp_path / "log")
        for number in range(50):
            log.record(str(number), 0, VERDICT, manifest)
        while log.dropped_lines == 0:
            pass
    dropped = log.dropped_lines
    with log:
        log.record("after", 0, VERDICT, manifest)
    text = (tmp_path / "log").read_text().splitlines()
    whole = [json.loads(line)["request_id"] for line in text if line.endswith("}")]
    assert whole == [*map(str, range(50 - dropped)), "after"]


def test_a_blocked_disk_costs_no_answer(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that hangs, as on a lost network disk, leaves `record` as quick as it was, and memory bounded."""
    disk_is_back = threading.Event()
    write = LineFile.write

    def hang(file: LineFile, lines: list[bytes]) -> int:
        disk_is_back.wait()
        return write(file, lines)

    monkeypatch.setattr(LineFile, "write", hang)
    with verdict_log(tmp_path / "log") as log:
        for number in range(2 * MAX_WAITING + 1):  # some are in the thread, some wait, the rest is dropped
            log.record(str(number), 0, VERDICT, manifest)
        assert (dropped := log.dropped_lines) > 0
        disk_is_back.set()
    assert log.dropped_lines == dropped
    numbers = [int(line["request_id"]) for line in lines_of(tmp_path / "log")]
    assert len(numbers) == 2 * MAX_WAITING + 1 - dropped
    assert numbers == sorted(numbers)
