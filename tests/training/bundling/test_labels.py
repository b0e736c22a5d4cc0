"""Feedback lines find their scores, and whatever cannot be used is counted by its reason."""

import json
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
from tests.training.bundling.lines import Line, feedback_line, remembered, verdict_line, write_lines
from training.bundling.labels import (
    EARLIER,
    NO_VERDICT,
    OTHER_LINES,
    OTHER_MODEL,
    SEVERAL_VERDICTS,
    UNKNOWN_CLASS,
    Label,
    Labels,
    Served,
    read_labels,
)
from training.errors import DataError


@pytest.fixture
def manifest(tiny_bundle: Bundle) -> Manifest:
    """Of the tiny bundle."""
    return tiny_bundle.manifest


def read(manifest: Manifest, folder: Path, *lines: Line) -> Labels:
    """What a file of these lines gives."""
    return read_labels([write_lines(folder / "lines.jsonl", lines)], manifest)


def test_a_label_gets_the_score_of_its_verdict_line(manifest: Manifest, tmp_path: Path) -> None:
    """Joined by the request's id and the picture's place in it, in any order of lines."""
    found = read(
        manifest,
        tmp_path,
        feedback_line("a", "out", index=1),
        verdict_line(manifest, "a", -0.1, "in"),
        verdict_line(manifest, "a", -0.9, "out", index=1, label="blue"),
        feedback_line("a", "red"),
    )
    assert found.usable == [Label(False, -0.9, "out", 1), Label(True, -0.1, "in", 0)]
    assert found.ignored.total() == 0


def test_a_place_that_is_not_told_is_the_first(manifest: Manifest, tmp_path: Path) -> None:
    """A request of one picture has no other."""
    verdict, label = verdict_line(manifest, "a", -0.1, "in"), feedback_line("a", "in", index=None)
    assert read(manifest, tmp_path, verdict, label).usable == [Label(True, -0.1, "in", 0)]


def test_a_label_with_its_score_needs_no_verdict_line(manifest: Manifest, tmp_path: Path) -> None:
    """What the service still knew of the verdict is in the feedback line."""
    found = read(manifest, tmp_path, remembered(manifest, "a", "out", -0.3, "in", predicted="white"))
    assert found.usable == [Label(False, -0.3, "in", 2)]
    assert found.served is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_sha256": "0" * 64}, OTHER_MODEL),
        ({"model_sha256": None, "version": "2"}, OTHER_MODEL),
        ({"model_sha256": None, "model": "other"}, OTHER_MODEL),
        ({"label": "banana"}, UNKNOWN_CLASS),
        ({"score": None}, NO_VERDICT),
        ({"decision": "unknown"}, NO_VERDICT),
        ({"score": "high"}, OTHER_LINES),
        ({"request_id": 7}, OTHER_LINES),
    ],
)
def test_a_label_that_cannot_be_used_is_counted(
    manifest: Manifest, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """By its reason, and the others stay."""
    good, bad = (remembered(manifest, request_id, "in", -0.1, "in") for request_id in "ab")
    found = read(manifest, tmp_path, good, {**bad, **changes})
    assert len(found.usable) == 1
    assert found.ignored[reason] == found.ignored.total() == 1


def test_without_a_hash_name_and_version_tell_the_model(manifest: Manifest, tmp_path: Path) -> None:
    """A line that does not say the model's hash is of the same model by those."""
    line = remembered(manifest, "a", "in", -0.1, "in")
    del line["model_sha256"]
    assert len(read(manifest, tmp_path, line).usable) == 1


def test_a_verdict_of_another_model_is_not_used(manifest: Manifest, tmp_path: Path) -> None:
    """Neither for its score nor for how many were served."""
    verdict = verdict_line(manifest, "a", -0.1, "in", model_sha256="0" * 64)
    found = read(manifest, tmp_path, verdict, feedback_line("a", "in"))
    assert (found.usable, found.ignored[OTHER_MODEL], found.served) == ([], 1, None)


def test_a_request_id_that_comes_again_tells_nothing(manifest: Manifest, tmp_path: Path) -> None:
    """Clients may choose ids; which of two pictures was labelled is not known. A line that is there twice is one."""
    first, other = verdict_line(manifest, "a", -0.1, "in"), verdict_line(manifest, "a", -0.8, "out")
    assert read(manifest, tmp_path, first, other, feedback_line("a", "in")).ignored[SEVERAL_VERDICTS] == 1
    twice = read(manifest, tmp_path, first, first, feedback_line("a", "in"))
    assert len(twice.usable) == 1
    assert twice.served == Served(1, 0, 1)


def test_the_last_label_of_a_picture_counts(manifest: Manifest, tmp_path: Path) -> None:
    """People correct themselves; the same line twice is no correction."""
    labels = [remembered(manifest, "a", label, -0.3, "in") for label in ("in", "in", "out")]
    found = read(manifest, tmp_path, *labels)
    assert [label.is_in for label in found.usable] == [False]
    assert found.ignored[EARLIER] == 1


def test_torn_and_foreign_lines_are_counted(manifest: Manifest, tmp_path: Path) -> None:
    """Whatever a killed process or another program left there."""
    whole = json.dumps(remembered(manifest, "a", "in", -0.1, "in")).encode()
    nan = whole.replace(b'"a"', b'"b"').replace(b"-0.1", b"NaN")
    torn = [whole[:40], b"\xff\xfe", b"[]", b"null", b'{"kind": "request"}', b'{"a": 1}', b"[" * 100_000, nan]
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b"\n".join([*torn, b"", whole, whole[:70]]))
    found = read_labels([file], manifest)
    assert found.usable == [Label(True, -0.1, "in", 0)]
    assert found.ignored[OTHER_LINES] == len(torn) + 1


def test_sampled_verdict_lines_tell_how_many_were_served(manifest: Manifest, tmp_path: Path) -> None:
    """A line of a tenth of all stands for ten; lines that stand for unequal numbers tell less."""
    lines = [verdict_line(manifest, str(number), -0.1, "in", sampled=0.1) for number in range(3)]
    found = read(manifest, tmp_path, *lines, verdict_line(manifest, "z", -0.9, "out", sampled=0.5))
    assert found.served == pytest.approx((30, 2, 32**2 / (3 * 10**2 + 2**2)))


def test_lines_are_read_as_the_service_writes_them(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Its own verdict log and feedback lines: what it remembered needs no verdict line, what it forgot has one."""
    manifest, calibration = tiny_bundle.manifest, tiny_bundle.calibration
    assert calibration is not None
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
    groups = [[group.name for group in manifest.groups].index(verdict.group) for verdict in verdicts]
    found = read_labels([tmp_path / "verdicts.jsonl", feedback], manifest)
    assert found.usable == [
        Label(label, verdict.score, verdict.decision, group)
        for label, verdict, group in zip((True, False), verdicts, groups, strict=True)
    ]
    assert found.served == Served(1, 1, 2)
    assert found.ignored.total() == 0
    assert len(read_labels([feedback], manifest).usable) == 1


def test_a_missing_file_is_one_sentence(manifest: Manifest, tmp_path: Path) -> None:
    """It names the file."""
    with pytest.raises(DataError, match=r"nowhere\.jsonl cannot be read"):
        read_labels([tmp_path / "nowhere.jsonl"], manifest)
