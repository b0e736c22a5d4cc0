"""Whatever pictures lie in, they are the same pictures, cut into parts."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.bulk.material import BROKEN, GREY, RED, write_folder
from tests.training.tar_shards import write_shard
from training.bulk.sources import Source, read_source
from training.errors import DataError, ScoringError, SettingError
from training.scoring.judging import Picture, read_content

PICTURES = {"a.png": RED, "deep/b.JPG": BROKEN, "deep/c 1.png": GREY, "deep/d.png": RED, "e.webp": GREY}

Read = Callable[..., Source]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Find a source and put its listing where it belongs, as a run does."""

    def find(path: Path, *, part_size: int = 2, column: str | None = None, key: str | None = None) -> Source:
        draft, listing = tmp_path / "draft", tmp_path / "listing.parquet"
        source = read_source(path, listing, draft, part_size=part_size, column=column, key=key)
        if draft.exists():
            draft.replace(listing)
        return source

    return find


def contents(source: Source) -> dict[str, object]:
    """The bytes of every picture by what identifies it, or the error that is there instead."""
    pictures: list[Picture] = [picture for part in source.parts for picture in part.read()]
    assert len({picture.path for picture in pictures}) == len(pictures)
    return {picture.path: read_content(picture) for picture in pictures}


def test_a_folder(tmp_path: Path, read: Read) -> None:
    """All pictures below it, by their names relative to it; other files are none."""
    folder = write_folder(tmp_path / "data", PICTURES | {"notes.txt": b"none"})
    source = read(folder)
    assert [part.count for part in source.parts] == [2, 2, 1]
    assert contents(source) == PICTURES


def test_a_file_name_may_be_any(tmp_path: Path, read: Read) -> None:
    """With a line break in it, or bytes that are no UTF-8."""
    folder = tmp_path / "data"
    folder.mkdir()
    names = [b"a\nb.png", b"\xff.png"]
    for name in names:
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(RED)
    assert list(contents(read(folder))) == list(map(os.fsdecode, names))


def test_a_list(tmp_path: Path, read: Read) -> None:
    """A path a line, relative to the list's folder or absolute, with labels or without; what is missing is an error."""
    write_folder(tmp_path / "data", PICTURES)
    (tmp_path / "data" / "list.txt").write_text(
        f"a.png\n\ndeep/b.JPG 7\ndeep/c 1.png\r\ndeep/d.png 3 12\n{tmp_path}/data/e.webp\ngone 5\n"
    )
    found = contents(read(tmp_path / "data" / "list.txt"))
    assert isinstance(found.pop("gone 5"), FileNotFoundError)
    assert list(found) == ["a.png", "deep/b.JPG", "deep/c 1.png", "deep/d.png", f"{tmp_path}/data/e.webp"]
    assert list(found.values()) == list(PICTURES.values())


def test_shards(tmp_path: Path, read: Read) -> None:
    """Each shard is a part; pictures have the names by which lists know them, and a damaged shard is an error."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_shard(folder / "0.tar", [("x.png", RED), ("x.cls", b"1"), ("y.json", b"{}"), ("y.png", GREY)])
    write_shard(folder / "1.tar", [("z.png", RED)])
    (folder / "2.tar").write_bytes(b"none")
    source = read(folder)
    assert len(source.parts) == 3
    assert source.parts[0].count is None
    found = contents(source)
    assert isinstance(found.pop("2.tar"), DataError)
    (folder / "list.txt").write_text("\n".join(found))
    assert list(found.values()) == [RED, GREY, RED]
    assert contents(read(folder / "list.txt")) == found
    assert list(contents(read(folder / "1.tar")).values()) == [RED]


@pytest.mark.parametrize(("group_rows", "counts"), [(1, [2, 2, 1]), (2, [2, 2, 1]), (3, [3, 2]), (100, [5])])
def test_tables_of_bytes(tmp_path: Path, read: Read, group_rows: int, counts: list[int]) -> None:
    """Parts end with row groups, which are read once; a column that names pictures is found."""
    table = pa.table({"id": list(range(5)), "image": list(PICTURES.values())})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=group_rows)
    source = read(tmp_path / "t.parquet")
    assert [part.count for part in source.parts] == counts
    assert contents(source) == {str(number): content for number, content in enumerate(PICTURES.values())}


def test_tables_of_paths(tmp_path: Path, read: Read) -> None:
    """Relative to the folder of the tables, or absolute; dictionary-encoded ones too."""
    folder = write_folder(tmp_path / "data", PICTURES)
    names = pa.array(list(PICTURES))
    (folder / "list").mkdir()
    pq.write_table(pa.table({"label": ["?"] * 5, "path": names.dictionary_encode()}), folder / "one.parquet")
    assert contents(read(folder / "one.parquet")) == PICTURES
    absolute = {f"{folder}/{name}": content for name, content in PICTURES.items()}
    pq.write_table(pa.table({"path": list(absolute)}), folder / "list" / "two.parquet")
    assert contents(read(folder / "list")) == absolute


def test_tables_of_structs(tmp_path: Path, read: Read) -> None:
    """The form of Hugging Face's image data sets: bytes, or else a path, by its path, or else its file and row."""
    write_folder(tmp_path, {"there.png": GREY})
    images = [
        {"bytes": RED, "path": "a.png"},
        {"bytes": None, "path": "there.png"},
        {"bytes": RED, "path": None},
        {"bytes": None, "path": None},
        None,
    ]
    pq.write_table(pa.table({"image": images, "label": [0] * 5}), tmp_path / "train.parquet")
    expected = {"a.png": RED, "there.png": GREY, "train.parquet#2": RED, "train.parquet#3": b"", "train.parquet#4": b""}
    assert contents(read(tmp_path / "train.parquet")) == expected


def test_columns_may_be_named(tmp_path: Path, read: Read) -> None:
    """Where more than one could be meant, and for what identifies a picture."""
    table = pa.table({"small": [GREY], "large": [RED], "sku": ["x-1"], "key": ["k"]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert contents(read(tmp_path / "t.parquet", column="large", key="sku")) == {"x-1": RED}
    assert contents(read(tmp_path / "t.parquet", column="small")) == {"k": GREY}
    with pytest.raises(SettingError, match="small, large"):
        read(tmp_path / "t.parquet")
    for options in ({"column": "none"}, {"column": "small", "key": "none"}):
        with pytest.raises(SettingError, match=r"'none'.*small, large, sku, key"):
            read(tmp_path / "t.parquet", **options)
    (tmp_path / "list.txt").write_text("a.png")
    with pytest.raises(SettingError, match="leave out --column"):
        read(tmp_path / "list.txt", column="small")


def test_every_row_behind_a_damage_is_an_error(tmp_path: Path, read: Read) -> None:
    """A table's footer may be sound though its pages are not: no picture is lost without a word."""
    file = tmp_path / "t.parquet"
    pictures = [os.urandom(2000) for _ in range(6)]
    pq.write_table(pa.table({"image": pictures}), file, compression="zstd", row_group_size=2)
    source = read(file, part_size=6)
    second = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content = bytearray(file.read_bytes())
    content[second.data_page_offset : second.data_page_offset + 200] = bytes(200)
    file.write_bytes(content)
    read_again = contents(source)
    assert list(read_again) == [f"t.parquet#{row}" for row in range(6)]
    assert list(read_again.values())[:2] == pictures[:2]
    assert all("damaged" in str(error) for error in list(read_again.values())[2:])


def test_a_table_that_cannot_be_read_now_is_not_called_damaged(tmp_path: Path, read: Read) -> None:
    """What passes is no result of its pictures."""
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [RED]}), file)
    source = read(file)
    file.unlink()
    with pytest.raises(ScoringError, match="run the same command again"):
        contents(source)


@pytest.mark.parametrize(
    ("files", "name", "words"),
    [
        ({}, "nothing", "There is nothing"),
        ({"data/notes.txt": b""}, "data", "holds no JPEG"),
        ({"data/a.png": RED, "data/b.tar": b""}, "data", r"b\.tar and .*a\.png"),
        ({"data/a.png": RED}, "data/a.png", "predict"),
        ({"list.txt": b"\n"}, "list.txt", "names no picture"),
        ({"list.txt": "a.png\n".encode("utf-16")}, "list.txt", "Line 1"),
        ({"t.parquet": b"none"}, "t.parquet", "no Parquet"),
    ],
)
def test_what_is_no_source_is_refused(
    tmp_path: Path, read: Read, files: dict[str, bytes], name: str, words: str
) -> None:
    """With the name and a remedy."""
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match=words):
        read(tmp_path / name)


def test_tables_of_several_types_are_refused(tmp_path: Path, read: Read) -> None:
    """One column of paths and one of bytes, of one name, are two sources."""
    pq.write_table(pa.table({"image": [RED]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"image": ["a.png"]}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"1\.parquet is of another type"):
        read(tmp_path)


def test_a_fingerprint_tells_sources_apart(tmp_path: Path, read: Read) -> None:
    """By where they are and by names, and by sizes where names say little; and it is the same again."""
    folder, other = (write_folder(tmp_path / name, PICTURES) for name in ("one", "two"))
    prints = [read(folder).fingerprint, read(other).fingerprint]
    assert read(folder).fingerprint == prints[0]
    (folder / "a.png").rename(folder / "b.png")
    prints.append(read(folder).fingerprint)
    for size in (1, 2):
        write_shard(tmp_path / "0.tar", [("x.png", RED)] * size * 20)
        prints.append(read(tmp_path / "0.tar").fingerprint)
    for key in ("id", "key"):
        pq.write_table(pa.table({"image": [RED], "id": [1], "key": [1]}), tmp_path / "t.parquet")
        prints.append(read(tmp_path / "t.parquet", key=key).fingerprint)
    assert len({str(found) for found in prints}) == len(prints)
