"""Lines are whole, files are bounded, and one process writes them, through full disks, restarts and kills."""

import json
import logging
import os
from pathlib import Path

import pytest

from service.errors import SettingError
from service.watch.json_lines import LineFile, json_line, timestamp
from tests.full_disk import full_disk


def line_file(path: Path, *, max_bytes: int = 1000, max_files: int = 3, keeps_all: bool = False) -> LineFile:
    return LineFile(path, setting="MOS_X", max_bytes=max_bytes, max_files=max_files, keeps_all=keeps_all)


def numbered_lines(count: int, *, size_bytes: int = 100) -> list[bytes]:
    return [f"{number:0{size_bytes - 1}d}\n".encode() for number in range(count)]


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers of the lines in all files of *folder*, the oldest file first."""
    paths = [path for path in folder.glob("lines*") if path.suffix != ".lock"]
    paths.sort(key=lambda path: int(path.suffix[1:] or 0), reverse=True)
    return [int(line) for path in paths for line in path.read_text().splitlines()]


def test_a_line_is_json_in_ascii() -> None:
    """Any text is one line that every reader can take apart."""
    line = json_line({"label": "Süß\n", "score": -0.5, "none": None})
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"label": "Süß\n", "score": -0.5, "none": None}


def test_a_time_is_utc() -> None:
    """ISO 8601 with its offset, to the millisecond."""
    assert timestamp(1_767_323_045.0625) == "2026-01-02T03:04:05.062+00:00"


def test_lines_are_appended_over_restarts(tmp_path: Path) -> None:
    """What an earlier process wrote stays."""
    for number in (1, 2):
        file = line_file(tmp_path / "lines")
        assert file.write([f"{number}\n".encode()]) == 1
        file.close()
    assert (tmp_path / "lines").read_text() == "1\n2\n"


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_a_full_file_is_renamed_and_the_oldest_goes(tmp_path: Path, at_once: int) -> None:
    """However many lines come together, each file stays within its bytes, and the last ones are there, in order."""
    file = line_file(tmp_path / "lines")
    lines = numbered_lines(100)
    for start in range(0, 100, at_once):
        assert file.write(lines[start : start + at_once]) == len(lines[start : start + at_once])
        sizes = [path.stat().st_size for path in tmp_path.glob("lines*")]
        assert max(sizes) <= 1000
        assert sum(sizes) <= 3 * 1000
    file.close()
    assert numbers_in(tmp_path) == list(range(70, 100))


def test_a_restart_goes_on_where_the_file_was(tmp_path: Path) -> None:
    """The bytes of an earlier process count: the file is full when it is full."""
    for start in range(0, 24, 3):
        file = line_file(tmp_path / "lines")
        file.write(numbered_lines(24)[start : start + 3])
        file.close()
    assert (tmp_path / "lines.2").stat().st_size == (tmp_path / "lines.1").stat().st_size == 1000
    assert numbers_in(tmp_path) == list(range(24))


def test_a_kill_in_a_rotation_loses_nothing(tmp_path: Path) -> None:
    """The gap that a half-done rotation leaves is filled by the next one, and no file is written over."""
    file = line_file(tmp_path / "lines", max_files=4)
    file.write(numbered_lines(30))
    file.close()
    (tmp_path / "lines.2").rename(tmp_path / "lines.3")
    file = line_file(tmp_path / "lines", max_files=4)
    file.write(numbered_lines(40)[30:])
    file.close()
    assert numbers_in(tmp_path) == list(range(40))


def test_what_must_be_kept_is_never_deleted(tmp_path: Path) -> None:
    """With all files full no line is taken, until somebody moves one away."""
    file = line_file(tmp_path / "lines", keeps_all=True)
    assert file.write(numbered_lines(40)) == 30
    assert file.write([b"more\n"]) == 0
    assert numbers_in(tmp_path) == list(range(30))
    (tmp_path / "lines.2").rename(tmp_path / "collected")
    assert file.write([b"30\n"]) == 1
    file.close()
    assert numbers_in(tmp_path) == list(range(10, 31))


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """Whoever takes the file to read it takes all lines so far, and no later one goes after it."""
    file = line_file(tmp_path / "lines")
    file.write([b"1\n"])
    (tmp_path / "lines").rename(tmp_path / "taken")
    file.write([b"2\n"])
    file.close()
    assert ((tmp_path / "taken").read_text(), (tmp_path / "lines").read_text()) == ("1\n", "2\n")


def test_the_torn_line_of_a_killed_process_is_ended(tmp_path: Path) -> None:
    """The next line stands alone."""
    (tmp_path / "lines").write_text('{"whole": 1}\n{"to')
    file = line_file(tmp_path / "lines")
    file.write([b"2\n"])
    file.close()
    assert (tmp_path / "lines").read_text() == '{"whole": 1}\n{"to\n2\n'


def test_a_full_disk_and_its_end_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was written whole is counted exactly, and when there is room again writing goes on, each line whole."""
    file = line_file(tmp_path / "lines", max_bytes=100_000)
    lines = numbered_lines(100)
    with full_disk(250):
        assert file.write(lines[:10]) == 2
        assert file.write(lines[10:20]) == 0
    assert file.write(lines[20:]) == 80
    file.close()
    read = (tmp_path / "lines").read_bytes().splitlines(keepends=True)
    assert [line for line in read if len(line) == 100] == lines[:2] + lines[20:]
    assert len(read) == 83  # and the one that was torn
    record, over = caplog.records
    assert over.getMessage().endswith("takes lines again.")
    assert (record.levelno, str(tmp_path) in record.getMessage()) == (logging.ERROR, True)


def test_a_write_that_is_cut_short_tears_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room again before the next write, that begins a line of its own."""
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        return write(descriptor, data[: len(data) // 2])

    file = line_file(tmp_path / "lines")
    monkeypatch.setattr(os, "write", half)
    assert file.write(numbered_lines(5)) == 5
    file.close()
    lines = (tmp_path / "lines").read_bytes().splitlines(keepends=True)
    assert [line for line in lines if len(line) == 100] == numbered_lines(5)
    assert len(lines) == 6


def test_a_folder_that_goes_and_comes_back_is_survived(tmp_path: Path) -> None:
    """A volume may be away for a while."""
    folder = tmp_path / "volume"
    folder.mkdir()
    file = line_file(folder / "lines")
    folder.rename(tmp_path / "away")
    assert file.write([b"lost\n"]) == 0
    (tmp_path / "away").rename(folder)
    assert file.write([b"1\n"]) == 1
    file.close()
    assert numbers_in(folder) == [1]


def test_a_line_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    """It is written all the same, and the next line begins the next file."""
    file = line_file(tmp_path / "lines", max_bytes=10)
    assert file.write([b"1\n", b"2" * 50 + b"\n", b"3\n"]) == 3
    file.close()
    assert numbers_in(tmp_path) == [1, int("2" * 50), 3]


def test_a_second_writer_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    """Two processes would rotate under each other; the sentence says what to do, and the file is left as it is."""
    first = line_file(tmp_path / "lines")
    first.write(numbered_lines(15))  # a rotation does not give the lock away
    with pytest.raises(SettingError, match=r"^MOS_X=.*lines: it is being written already; give each process.*\.$"):
        line_file(tmp_path / "lines")
    first.close()
    line_file(tmp_path / "lines").close()


@pytest.mark.parametrize("kind", ["no folder", "a folder", "a pipe"])
def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, kind: str) -> None:
    """A wrong path is told at the start; a pipe that nobody reads does not hold it."""
    path = {"no folder": tmp_path / "missing" / "lines", "a folder": tmp_path, "a pipe": tmp_path / "pipe"}[kind]
    if kind == "a pipe":
        os.mkfifo(path)
    for _ in range(2):  # the refusal leaves no lock behind
        with pytest.raises(SettingError, match=r"^MOS_X=.*: it cannot be written \(.*\); name a file .*\.$"):
            line_file(path)
