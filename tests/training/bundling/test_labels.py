"""Feedback lines find their verdict lines, and whatever cannot be used is counted by its reason."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bundle import Bundle, Manifest
from service.inference.engine import Engine
from service.inference.pipeline import judge_of
from service.preprocess import decode
from service.watch.feedback import Feedback, RememberedVerdict
from service.watch.feedback import feedback_line as feedback_line_of
from service.watch.verdict_log import VerdictLog
from tests.tiny_bundle import png
from tests.training.bundling.lines import THRESHOLD, Line, feedback_line, remembered, verdict_line, write_lines
from training.bundling.labels import (
    AGAIN,
    EARLIER,
    NO_VERDICT,
    OTHER_LINES,
    OTHER_MODEL,
    OTHER_THRESHOLD,
    SEVERAL_VERDICTS,
    UNKNOWN_CLASS,
    Label,
    Labels,
    read_labels,
)
from training.errors import DataError

THRESHOLDS = [THRESHOLD] * 3


@pytest.fixture
def manifest(tiny_bundle: Bundle) -> Manifest:
    """Of the tiny bundle."""
    return tiny_bundle.manifest


def read(manifest: Manifest, folder: Path, *lines: Line) -> Labels:
    """What a file of these lines gives."""
    return read_labels([write_lines(folder / "lines.jsonl", lines)], manifest, THRESHOLDS)


def test_a_label_gets_the_score_of_its_verdict_line(manifest: Manifest, tmp_path: Path) -> None:
    """Joined by the request's id and the picture's place in it."""
    found = read(
        manifest,
        tmp_path,
        feedback_line("a", "out", index=1),
        verdict_line(manifest, "a", -0.1, "in"),
        verdict_line(manifest, "a", -0.9, "out", index=1, label="blue", group="cool"),
        feedback_line("a", "red"),
    )
    assert sorted(found.usable) == [Label(("a", 0), True, -0.1, "in", 0), Label(("a", 1), False, -0.9, "out", 1)]
    assert found.logged == {"in": 1, "out": 1}
    assert found.ignored.total() == 0


def test_a_place_that_is_not_told_is_the_first(manifest: Manifest, tmp_path: Path) -> None:
    """A request of one picture has no other."""
    verdict, label = verdict_line(manifest, "a", -0.1, "in"), feedback_line("a", "in", index=None)
    assert read(manifest, tmp_path, verdict, label).usable == [Label(("a", 0), True, -0.1, "in", 0)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"label": "banana"}, UNKNOWN_CLASS),
        ({"request_id": "lost"}, NO_VERDICT),
        ({"index": 1}, NO_VERDICT),
        ({"score": -0.2}, NO_VERDICT),
        ({"score": "high"}, OTHER_LINES),
        ({"request_id": 7}, OTHER_LINES),
        ({"time": "yesterday"}, OTHER_LINES),
    ],
)
def test_a_label_that_cannot_be_used_is_counted(
    manifest: Manifest, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """By its reason, and the others stay; one that tells another score is about a picture whose line is not here."""
    verdicts = [verdict_line(manifest, request_id, score, "in") for request_id, score in (("a", -0.1), ("b", -0.3))]
    good, bad = remembered(manifest, "a", "in", -0.1, "in"), remembered(manifest, "b", "in", -0.3, "in")
    found = read(manifest, tmp_path, *verdicts, good, {**bad, **changes})
    assert len(found.usable) == 1
    assert found.ignored[reason] == found.ignored.total() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_sha256": "0" * 64}, OTHER_MODEL),
        ({"model_sha256": None, "version": "2"}, OTHER_MODEL),
        ({"model_sha256": None, "model": "other"}, OTHER_MODEL),
        ({"threshold": -0.4}, OTHER_THRESHOLD),
        ({"group": "sour"}, OTHER_THRESHOLD),
    ],
)
def test_a_verdict_of_another_model_or_threshold_is_not_used(
    manifest: Manifest, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """Neither for its score nor for how many were served."""
    verdict = verdict_line(manifest, "a", -0.1, "in", **changes)
    found = read(manifest, tmp_path, verdict, feedback_line("a", "in"))
    assert (found.usable, found.ignored[reason], found.logged.total()) == ([], 1, 0)


def test_each_group_has_its_own_threshold(manifest: Manifest, tmp_path: Path) -> None:
    """A verdict is of the bundle's calibration by the threshold of its group."""
    lines = [
        verdict_line(manifest, "a", -0.1, "in"),
        verdict_line(manifest, "b", -0.2, "in", label="blue", group="cool", threshold=-0.7),
        verdict_line(manifest, "c", -0.3, "in", label="blue", group="cool"),
    ]
    found = read_labels([write_lines(tmp_path / "lines.jsonl", lines)], manifest, [-0.5, -0.7, -0.5])
    assert found.logged == {"in": 2}


def test_without_a_hash_name_and_version_tell_the_model(manifest: Manifest, tmp_path: Path) -> None:
    """A line that does not say the model's hash is of the same model by those."""
    verdict = verdict_line(manifest, "a", -0.1, "in")
    del verdict["model_sha256"]
    assert len(read(manifest, tmp_path, verdict, feedback_line("a", "in")).usable) == 1


def test_a_request_id_that_comes_again_tells_nothing(manifest: Manifest, tmp_path: Path) -> None:
    """Clients may choose ids; which of two pictures was labelled is not known. A line that is there twice is one."""
    first, other = verdict_line(manifest, "a", -0.1, "in"), verdict_line(manifest, "a", -0.8, "out")
    again = read(manifest, tmp_path, first, other, feedback_line("a", "in"))
    assert (again.ignored[SEVERAL_VERDICTS], again.logged.total()) == (1, 0)
    twice = read(manifest, tmp_path, first, first, feedback_line("a", "in"))
    assert (len(twice.usable), twice.logged.total()) == (1, 1)


def test_the_latest_label_of_a_picture_counts(manifest: Manifest, tmp_path: Path) -> None:
    """People correct themselves, and files come in any order; the same line twice is no correction."""
    times = [("in", "05:00"), ("in", "05:00"), ("in", "07:00"), ("out", "06:00")]
    labels = [feedback_line("a", label, time=f"2026-01-02T03:{time}.000+00:00") for label, time in times]
    found = read(manifest, tmp_path, verdict_line(manifest, "a", -0.3, "in"), *labels)
    assert [label.is_in for label in found.usable] == [True]
    assert found.ignored[EARLIER] == 2


def test_a_picture_that_is_served_again_counts_once(manifest: Manifest, tmp_path: Path) -> None:
    """A camera that stands still: one picture by its class and score, with its latest label."""
    verdicts = [verdict_line(manifest, f"{number}", -0.3, "in") for number in range(50)]
    other_class = verdict_line(manifest, "blue", -0.3, "in", label="blue", group="cool")
    labels = [feedback_line(f"{number}", "in") for number in range(49)]
    last = feedback_line("49", "out", time="2026-01-02T03:06:00.000+00:00")
    found = read(manifest, tmp_path, *verdicts, other_class, last, *labels, feedback_line("blue", "in"))
    assert sorted(found.usable) == [Label(("49", 0), False, -0.3, "in", 0), Label(("blue", 0), True, -0.3, "in", 1)]
    assert found.ignored[AGAIN] == found.ignored.total() == 49
    assert found.logged == {"in": 2}


def test_the_order_of_lines_does_not_matter(manifest: Manifest, tmp_path: Path) -> None:
    """Not even where several labels came at one moment."""
    lines = [verdict_line(manifest, f"{number}", -0.01 * (number // 2), "in") for number in range(60)]
    lines += [feedback_line(f"{number}", ("in", "out")[number % 3 % 2]) for number in range(60)]
    one = read(manifest, tmp_path, *lines)
    random.Random(0).shuffle(lines)
    other = read(manifest, tmp_path, *lines)
    assert sorted(one.usable) == sorted(other.usable)
    assert one.ignored == other.ignored


def test_torn_and_foreign_lines_are_counted(manifest: Manifest, tmp_path: Path) -> None:
    """Whatever a killed process or another program left there."""
    whole = json.dumps(verdict_line(manifest, "a", -0.1, "in")).encode()
    nan = whole.replace(b'"a"', b'"b"').replace(b"-0.1", b"NaN")
    torn = [whole[:40], b"\xff\xfe", b"[]", b"null", b'{"kind": "request"}', b'{"a": 1}', b"[" * 100_000, nan]
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"\n".join([*torn, b"", whole, whole[:70]]))
    found = read_labels([file], manifest, THRESHOLDS)
    assert found.logged == {"in": 1}
    assert found.ignored[OTHER_LINES] == len(torn) + 1


def test_lines_are_read_as_the_service_writes_them(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Its own verdict log and feedback lines, whether it still knew the verdict or not."""
    manifest, calibration = tiny_bundle.manifest, tiny_bundle.calibration
    assert calibration is not None
    names = [group.name for group in manifest.groups]
    pixels = np.stack([decode(png(colour), height=8, width=8) for colour in ((235, 20, 20), (128, 128, 128))])
    verdicts = [
        judge_of(manifest, calibration).judge(row) for row in Engine(tiny_bundle, provider="cpu").predict(pixels)
    ]
    with VerdictLog(tmp_path / "verdicts.jsonl", share=1.0, max_bytes=10_000, max_files=2) as log:
        for index, verdict in enumerate(verdicts):
            log.record("a", index, verdict, manifest)
    known = RememberedVerdict(verdicts[0].decision, verdicts[0].label, verdicts[0].score, manifest)
    feedback = tmp_path / "feedback.jsonl"
    lines = [
        feedback_line_of(Feedback("a", 0, "red"), known, 0.0),
        feedback_line_of(Feedback("a", 1, "out"), None, 0.0),
    ]
    feedback.write_bytes(b"".join(lines))
    found = read_labels([tmp_path / "verdicts.jsonl", feedback], manifest, calibration.thresholds(names))
    assert sorted(found.usable) == [
        Label(("a", index), is_in, verdict.score, verdict.decision, names.index(verdict.group))
        for index, (is_in, verdict) in enumerate(zip((True, False), verdicts, strict=True))
    ]
    assert found.logged == {"in": 1, "out": 1}
    assert found.ignored.total() == 0


def test_a_missing_file_is_one_sentence(manifest: Manifest, tmp_path: Path) -> None:
    """It names the file."""
    with pytest.raises(DataError, match=r"nowhere\.jsonl cannot be read"):
        read_labels([tmp_path / "nowhere.jsonl"], manifest, THRESHOLDS)
