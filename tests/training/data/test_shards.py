"""Tar shards: every picture with its class, whatever order they are written in."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.training.tar_shards import write_shard
from training.data.lists import write_list
from training.data.pixels import read_rows
from training.data.sets import SUFFIXES, read_data_set, read_pictures
from training.data.shards import read_each_picture, span_of
from training.errors import DataError


def png(grey: int) -> bytes:
    """A picture of one grey."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (grey,) * 3).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards of two pictures each; classes before and after their pictures, one picture with its own JSON."""
    write_shard(
        tmp_path / "a-000.tar",
        [
            ("x/0001.png", png(10)),
            ("x/0001.cls", b"2\n"),
            ("x/0001.json", b"{}"),
            ("0002.cls", b"0"),
            ("0002.png", png(20)),
        ],
    )
    write_shard(
        tmp_path / "a-001.tar", [("1.v2/k.cls", b"1"), ("1.v2/k.PNG", png(30)), ("z.png", png(40)), ("z.cls", b"2")]
    )
    return tmp_path


def test_numbers_are_labels(folder: Path) -> None:
    """In the order of the shards, each picture with the class beside it; a key's folders may have dots."""
    data = read_data_set(folder)
    assert data.labels.tolist() == [2, 0, 1, 2]
    assert data.classes == ("class 0", "class 1", "class 2")
    assert read_rows(data, [2, 0, 1, 3], height=2, width=2)[:, 0, 0, 0].tolist() == [30, 10, 20, 40]


def test_a_names_file_says_what_numbers_are_called(folder: Path) -> None:
    """`classes.txt`, a name a line; a bundle's own classes come first."""
    (folder / "classes.txt").write_text("ant\nbee\ncat\n")
    assert read_data_set(folder).classes == ("ant", "bee", "cat")
    assert read_data_set(folder, ["p", "q", "r", "s"]).classes == ("p", "q", "r", "s")


def test_names_are_classes(tmp_path: Path) -> None:
    """Sorted, or in a bundle's order."""
    write_shard(tmp_path / "a.tar", [("1.png", png(1)), ("1.cls", b"dog"), ("2.png", png(2)), ("2.cls", b"cat")])
    data = read_data_set(tmp_path)
    assert (data.classes, data.labels.tolist()) == (("cat", "dog"), [1, 0])
    assert read_data_set(tmp_path, ["dog", "cat"]).labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="'dog'"):
        read_data_set(tmp_path, ["cat", "owl"])


def test_a_picture_without_a_class_is_named_where_classes_are_needed(tmp_path: Path) -> None:
    """An OOD set has none."""
    write_shard(tmp_path / "a.tar", [("1.png", png(1)), ("2.png", png(2)), ("2.cls", b"0")])
    with pytest.raises(DataError, match=r"1\.png"):
        read_data_set(tmp_path)
    assert len(read_pictures(tmp_path)) == 2


def test_no_picture_is_lost_to_its_name(tmp_path: Path) -> None:
    """Several pictures of one key have its class each, whatever stands between the key and the suffix."""
    write_shard(
        tmp_path / "a.tar",
        [("k.png", png(1)), ("k.left.png", png(2)), ("k.v2.right.PNG", png(3)), ("k.cls", b"7"), ("notes.txt", b"x")],
    )
    data = read_data_set(tmp_path)
    assert data.labels.tolist() == [7, 7, 7]
    assert read_rows(data, range(3), height=2, width=2)[:, 0, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("content", [b"", b"not a tar file" * 100, bytes(600)])
def test_a_damaged_shard_is_named(folder: Path, content: bytes) -> None:
    """Nothing is read past it in silence."""
    (folder / "a-001.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"a-001\.tar"):
        read_data_set(folder)


@pytest.mark.parametrize("kept_bytes", [1100, 1024, 3 * 512])
def test_a_shard_that_lost_its_end_is_named(folder: Path, kept_bytes: int) -> None:
    """Cut inside a picture or between two, its last pictures would be missed in silence."""
    shard = folder / "a-001.tar"
    shard.write_bytes(shard.read_bytes()[:kept_bytes])
    with pytest.raises(DataError, match=r"a-001\.tar"):
        read_data_set(folder)


def test_a_list_of_pictures_in_shards_reads_back(folder: Path, tmp_path: Path) -> None:
    """The held-out list that `train` writes needs no index of the shards."""
    data = read_data_set(folder)
    write_list(data.root, data.paths, data.labels, tmp_path / "held_out.txt")
    again = read_pictures(tmp_path / "held_out.txt")
    assert (read_rows(again, range(4), height=2, width=2) == read_rows(data, range(4), height=2, width=2)).all()
    assert again.fingerprint()["n"] == 4


@pytest.mark.parametrize("path", ["a.png", "user@host/a.png", "a.tar/b.png", "a.tar@12/b.png", "x@1+2/b.png"])
def test_the_path_of_a_file_is_no_span(path: str) -> None:
    """Only `SHARD.tar@OFFSET+SIZE/KEY` is one."""
    assert span_of(path) is None
    span = span_of("/d/s.tar@512+90/x@y/k.jpg")
    assert span is not None
    assert tuple(span) == ("/d/s.tar", 512, 90)


def test_one_pass_reads_the_same_pictures_by_the_same_names(folder: Path) -> None:
    """Whatever classes stand beside them."""
    data = read_pictures(folder)
    passed = [found for shard in ("a-000.tar", "a-001.tar") for found in read_each_picture(folder / shard, SUFFIXES)]
    assert [path for path, _ in passed] == list(data.paths)
    assert [content for _, content in passed] == [png(10), png(20), png(30), png(40)]


def test_one_pass_tells_of_damage_after_what_comes_before_it(folder: Path) -> None:
    """A shard that was cut between two pictures is told from a whole one."""
    shard = folder / "a-001.tar"
    shard.write_bytes(shard.read_bytes()[:-5120].rstrip(b"\0")[:2048])
    coming = read_each_picture(shard, SUFFIXES)
    assert next(coming)[1] == png(30)
    with pytest.raises(DataError, match=r"a-001\.tar is damaged"):
        list(coming)
