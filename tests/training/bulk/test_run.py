"""A run writes a row for each picture, once, and goes on where it was broken off."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.bundle import Bundle, read_bundle, write_calibration
from service.errors import BundleError
from service.verdict import Verdict
from tests.tiny_bundle import png, write_tiny_bundle
from tests.training.bulk.material import BROKEN, GREY, RED, rows, write_folder
from training.bulk import parts, run
from training.errors import DataError, ScoringError
from training.files import locked
from training.scoring import judging
from training.scoring.judging import LocalJudge, Outcome, Picture

ROOT = Path(__file__).parents[3]
PICTURES = {"0.png": RED, "1.png": GREY, "2.png": BROKEN, "3.png": RED, "4.png": b"", "5.png": GREY, "6.png": RED}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with pictures of each fate."""
    return write_folder(tmp_path / "data", PICTURES)


def score(bundle: Bundle, data: Path, out: Path, **options: Any) -> run.Summary:
    return run.score(bundle.path, data, out, **{"part_size": 3} | options)


def test_every_picture_has_a_row_and_only_one(tiny_bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """With the verdict that `predict` gives, or with the service's code and sentence in a table of their own."""
    summary = score(tiny_bundle, data, tmp_path / "out")
    assert (summary.pictures, summary.accepted, summary.rejected, summary.errors) == (7, 3, 2, 2)
    assert summary.pictures_a_second
    verdicts, errors = rows(tmp_path / "out"), rows(tmp_path / "out", "errors")
    assert [row["path"] for row in verdicts] == ["0.png", "1.png", "3.png", "5.png", "6.png"]
    assert [(row["path"], row["code"]) for row in errors] == [("2.png", "corrupt_image"), ("4.png", "empty_body")]
    assert "truncated" in errors[0]["detail"]
    sound = [Picture(name, PICTURES[name]) for name in ("0.png", "1.png")]
    for row, (_, verdict) in zip(verdicts, LocalJudge(tiny_bundle).judge(sound), strict=False):
        assert isinstance(verdict, Verdict)
        assert row.pop("others_scores") == pytest.approx(list(verdict.others_scores.values()), abs=1e-6)
        for name in row.keys() - {"path"}:
            wanted = getattr(verdict, name)
            assert row[name] == (pytest.approx(wanted, abs=1e-6) if isinstance(wanted, float) else wanted)


def test_files_say_what_they_were_made_with(tiny_bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """The bundle, what decides, and the order of the groups."""
    score(tiny_bundle, data, tmp_path / "out")
    for file in (tmp_path / "out").glob("*/part-000000.parquet"):
        said = json.loads(pq.read_schema(file).metadata[b"mos_guard"])
        assert (said["name"], said["version"], said["provider"]) == ("tiny", "1", "cpu")
        assert said["model_sha256"] == tiny_bundle.manifest.model_sha256
        assert said["preprocess_sha256"] == tiny_bundle.manifest.input.sha256
        assert said["groups"] == ["warm", "cool", "pale"]
        assert tiny_bundle.calibration is not None
        assert said["threshold"] == tiny_bundle.calibration.threshold


def test_a_part_without_verdicts_is_a_part(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """All of its pictures may be bad, and it is done all the same."""
    data = write_folder(tmp_path / "data", {f"{number}.png": BROKEN for number in range(3)})
    assert score(tiny_bundle, data, tmp_path / "out").errors == 3
    assert rows(tmp_path / "out") == []
    assert score(tiny_bundle, data, tmp_path / "out").pictures_a_second is None


def test_a_run_goes_on_with_the_parts_that_are_missing(tiny_bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """Those that are there stay as they are; errors of a part that is judged anew are those that it has now."""
    out = tmp_path / "out"
    before = score(tiny_bundle, data, out)
    first, second, third = sorted((out / "verdicts").iterdir())
    kept = first.stat().st_mtime_ns, third.stat().st_mtime_ns
    second.unlink()
    (data / "4.png").write_bytes(RED)
    after = score(tiny_bundle, data, out)
    assert (first.stat().st_mtime_ns, third.stat().st_mtime_ns) == kept
    assert (before.accepted, before.errors) == (3, 2)
    assert (after.accepted, after.errors) == (4, 1)
    assert [row["path"] for row in rows(out)] == [name for name in PICTURES if name != "2.png"]


def test_what_is_broken_off_leaves_whole_parts(
    tiny_bundle: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no trace of the part that it was at, whose errors come before its verdicts."""
    out = tmp_path / "out"
    judge = LocalJudge.judge

    def break_off(self: LocalJudge, pictures: Iterator[Picture]) -> Iterator[tuple[Picture, Outcome]]:
        for picture, outcome in judge(self, pictures):
            if picture.path == "4.png":
                raise KeyboardInterrupt
            yield picture, outcome

    monkeypatch.setattr(LocalJudge, "judge", break_off)
    with pytest.raises(KeyboardInterrupt):
        score(tiny_bundle, data, out)
    assert [file.name for file in (out / "verdicts").iterdir()] == ["part-000000.parquet"]
    monkeypatch.undo()
    assert score(tiny_bundle, data, out).pictures == 7
    assert {entry.name for entry in out.iterdir()} == {"errors", "listing.parquet", "run.json", "run.lock", "verdicts"}


def test_a_folder_is_of_one_bundle_calibration_source_and_part_size(tmp_path: Path, data: Path) -> None:
    """Another is refused, and what is there stays."""
    out = tmp_path / "out"
    bundle = write_tiny_bundle(tmp_path / "bundle")
    score(bundle, data, out)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(DataError, match="--part-size"):
        score(bundle, data, out, part_size=4)
    (data / "new.png").write_bytes(RED)
    with pytest.raises(DataError, match="another source"):
        score(bundle, data, out)
    (data / "new.png").unlink()
    with pytest.raises(DataError, match="another bundle"):
        score(write_tiny_bundle(tmp_path / "other", version="2"), data, out)
    assert bundle.calibration is not None
    write_calibration(bundle.path, bundle.calibration.model_copy(update={"confidence": 0.6}))
    with pytest.raises(DataError, match="another bundle or calibration"):
        score(read_bundle(bundle.path), data, out)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_a_folder_of_something_else_is_refused(tiny_bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """Parts that are not a run's must not be taken for its own."""
    (tmp_path / "out" / "verdicts").mkdir(parents=True)
    with pytest.raises(DataError, match="something else"):
        score(tiny_bundle, data, tmp_path / "out")


def test_results_among_the_tables_are_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A second run would judge the results of the first."""
    pq.write_table(pa.table({"image": [RED]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="would be pictures"):
        score(tiny_bundle, tmp_path, tmp_path / "out")


def test_a_name_that_is_no_utf8_has_a_row(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Written so that it can be told."""
    data = write_folder(tmp_path / "data", {os.fsdecode(b"\xff.png"): RED})
    assert score(tiny_bundle, data, tmp_path / "out").accepted == 1
    assert rows(tmp_path / "out")[0]["path"] == r"\xff.png"


def test_rows_are_written_some_at_a_time(
    tiny_bundle: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a large shard needs no more memory than a small one."""
    monkeypatch.setattr(parts, "ROWS_AT_A_TIME", 2)
    score(tiny_bundle, data, tmp_path / "out", part_size=100)
    file = pq.ParquetFile(tmp_path / "out" / "verdicts" / "part-000000.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 2, 1]
    assert [row["path"][0] for row in rows(tmp_path / "out")] == list("01356")


def test_a_model_that_cannot_be_run_ends_the_run(tmp_path: Path) -> None:
    """With the pictures named that it was at: a lost device must not become a million errors."""
    bundle = write_tiny_bundle(tmp_path / "bundle", fail_on_white=True)
    data = write_folder(tmp_path / "data", {"0.png": RED, "1.png": png((255, 255, 255))})
    with pytest.raises(ScoringError, match=r"pictures from 0\.png on"):
        score(bundle, data, tmp_path / "out")
    assert not (tmp_path / "out" / "verdicts").exists()


def test_a_disk_that_went_away_is_no_result(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Missing files by the hundred end the run; when they are back, the same command judges them."""
    data = write_folder(tmp_path / "data", {f"{number:03}.png": RED for number in range(120)})
    (tmp_path / "list.txt").write_text("".join(f"data/{file.name}\n" for file in sorted(data.iterdir())))
    data.rename(tmp_path / "away")
    with pytest.raises(ScoringError, match="not mounted"):
        score(tiny_bundle, tmp_path / "list.txt", tmp_path / "out", part_size=200)
    (tmp_path / "away").rename(data)
    assert score(tiny_bundle, tmp_path / "list.txt", tmp_path / "out", part_size=200).errors == 0


def test_a_file_that_cannot_be_read_now_ends_the_run(
    tiny_bundle: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error would stand for good."""

    def broken(picture: object) -> OSError:
        return OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(judging, "read_content", broken)
    with pytest.raises(ScoringError, match="disk is in trouble"):
        score(tiny_bundle, data, tmp_path / "out", part_size=3)
    assert rows(tmp_path / "out") == []


def test_a_folder_belongs_to_one_run_at_a_time(tiny_bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """Two would do the work twice, and take away each other's drafts."""
    with locked(tmp_path / "out" / run.LOCK_FILE), pytest.raises(DataError, match="another run"):
        score(tiny_bundle, data, tmp_path / "out", part_size=3)
    assert score(tiny_bundle, data, tmp_path / "out", part_size=3).pictures > 0


def test_nothing_is_decided_without_a_calibration(tmp_path: Path, data: Path) -> None:
    """And nothing is written."""
    with pytest.raises(BundleError, match="calibrate"):
        score(write_tiny_bundle(tmp_path / "bundle", calibrated=False), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence(tiny_bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A file in the way is like a disk that takes nothing."""
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        score(tiny_bundle, data, tmp_path / "out")


def test_it_runs_without_torch() -> None:
    """In the service's image, where pyarrow is all that is added; without Ray too."""
    check = "import sys, training.bulk.run; assert not {'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=120)
