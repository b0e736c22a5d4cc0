"""What is to be judged: a folder, a list file, Parquet or tar shards, cut into parts that a worker reads by itself.

A part says where its pictures are and holds none of their names, so a source of any size is small: a folder or a list
is first written down in a Parquet file of its own, and then read like any other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from training.bulk.tables import Columns, TablePart, columns_of, group_rows, row_count
from training.data.sets import SUFFIXES, pictures_below
from training.data.shards import find_shards, read_each_picture
from training.errors import DataError, SettingError
from training.scoring.judging import Picture

Kind = Literal["folder", "list", "table", "shards"]

LISTING_COLUMNS = Columns("path", "paths")
LISTED_AT_A_TIME = 65_536  # names
# `path label` and `path group label`, the lists that training reads, where what is left is the name of a picture.
LABELLED = re.compile(rf"(.*(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))}))(?: \d+){{1,2}}", re.IGNORECASE)


class Part(Protocol):
    """Some of a source's pictures: always the same ones, in the same order."""

    @property
    def count(self) -> int | None:
        """How many pictures, where that is known before they are read."""

    def read(self) -> Iterator[Picture]:
        """The pictures; what of the part cannot be read is a last one that says so."""


@dataclass(frozen=True)
class ShardPart:
    """All pictures of a tar shard, read in one pass."""

    shard: Path
    count: int | None = None

    def read(self) -> Iterator[Picture]:
        """The pictures as they stand; a damaged shard ends with one that has its name."""
        try:
            for path, content in read_each_picture(self.shard, SUFFIXES):
                yield Picture(path, content)
        except DataError as error:
            yield Picture(self.shard.name, error)


@dataclass(frozen=True)
class Source:
    """Parts, and what tells this source from another: where it is, its names, and the sizes of tables and shards."""

    parts: list[Part]
    fingerprint: dict[str, str | int]


def read_source(
    path: Path, listing: Path, draft: Path, *, part_size: int, column: str | None = None, key: str | None = None
) -> Source:
    """Find the pictures at *path*; the names of a folder's or a list's are written to *draft*.

    They are read from *listing*, which the caller renames it to. *column* of a table has the pictures or their paths,
    *key* what identifies them. Raises DataError.
    """
    kind = kind_of(path)
    if kind == "table":
        return _tables(path, column, key, part_size)
    if column or key:
        raise SettingError(f"{path} is no Parquet, so it has no columns; leave out --column and --key.")
    if kind == "shards":
        return _shards(path)
    root, names = (path, pictures_below(path)) if kind == "folder" else (path.parent, _lines(path))
    digest, count = _write_listing(names, draft)
    if not count:
        raise DataError(f"{path} names no picture; name a folder, a list, Parquet or tar shards of pictures.")
    parts = _cut(listing, _even(count, part_size), root.resolve(), LISTING_COLUMNS)
    return Source(parts, {"path": str(path.resolve()), "pictures": count, "sha256": digest})


def count_of(parts: Iterable[Part]) -> int | None:
    """How many pictures some parts have; None where one does not know."""
    counts = [part.count for part in parts]
    return None if None in counts else sum(count for count in counts if count is not None)


def kind_of(path: Path) -> Kind:
    """What there is at *path*; raises DataError where that is nothing, or of several kinds."""
    if path.is_file():
        by_suffix: dict[str, Kind] = {".parquet": "table", ".tar": "shards"}
        if path.suffix.lower() in SUFFIXES:
            raise DataError(f"{path} is one picture; `mos-guard predict` judges single ones.")
        return by_suffix.get(path.suffix.lower(), "list")
    if not path.is_dir():
        raise DataError(f"There is nothing at {path}; name a folder, a list, Parquet or tar shards of pictures.")
    tables, shards = sorted(path.glob("*.parquet")), find_shards(path)
    picture = next(pictures_below(path), None)
    found = [*tables[:1], *shards[:1], *([path / picture] if picture else [])]
    if len(found) > 1:
        both = " and ".join(map(str, found))
        raise DataError(f"{path} holds {both}; name the folder of one kind, or a list of what is to be judged.")
    if picture or shards:
        return "folder" if picture else "shards"
    if next(path.rglob("*.parquet"), None) is None:
        raise DataError(f"{path} holds no JPEG, PNG or WebP picture, no Parquet and no tar shard; name another folder.")
    return "table"


def _lines(file: Path) -> Iterator[str]:
    """The paths of a list file, a line each; labels behind them are left out."""
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                if "\0" in line:
                    raise DataError(f"Line {number} of {file} is no path; name a text file with a path in each line.")
                if path := line.rstrip("\r\n"):
                    labelled = LABELLED.fullmatch(path)
                    yield labelled[1] if labelled else path
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); mend it first.") from error


def _write_listing(names: Iterable[str], file: Path) -> tuple[str, int]:
    """Write names as they come, as bytes, for a file's name may be no UTF-8; returns their hash and how many."""
    digest, count = hashlib.sha256(), 0
    schema = pa.schema({LISTING_COLUMNS.picture: pa.binary()})
    with pq.ParquetWriter(file, schema, compression="zstd") as table:
        held: list[bytes] = []
        for name in map(os.fsencode, names):
            digest.update(name + b"\0")
            held.append(name)
            count += 1
            if len(held) == LISTED_AT_A_TIME:
                table.write_table(pa.table([held], schema=schema))
                held.clear()
        table.write_table(pa.table([held], schema=schema))
    return digest.hexdigest(), count


def _tables(path: Path, column: str | None, key: str | None, part_size: int) -> Source:
    root, files = (path.parent, [path]) if path.is_file() else (path, sorted(path.rglob("*.parquet")))
    columns = columns_of(files[0], column, key)
    parts: list[Part] = []
    digest = hashlib.sha256()
    for file in files:
        if columns_of(file, columns.picture, columns.key) != columns:
            raise DataError(f"{columns.picture!r} of {file} is of another type than in {files[0]}; judge it by itself.")
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\n".encode(errors="surrogateescape"))
        stops = _even(row_count(file), part_size) if columns.holds == "paths" else _of_groups(file, part_size)
        parts += _cut(file.resolve(), stops, root.resolve(), columns)
    if not parts:
        raise DataError(f"{path} has no rows; name another.")
    told = {"column": columns.picture, "key": columns.key or "", "sha256": digest.hexdigest()}
    return Source(parts, {"path": str(path.resolve()), "pictures": count_of(parts) or 0, **told})


def _cut(file: Path, stops: list[int], root: Path, columns: Columns) -> list[Part]:
    return [TablePart(file, root, columns, start, stop) for start, stop in pairwise([0, *stops])]


def _even(rows: int, part_size: int) -> list[int]:
    """Where parts of so many rows end."""
    return [*range(part_size, rows, part_size), rows] if rows else []


def _of_groups(file: Path, part_size: int) -> list[int]:
    """Where parts of so many rows or more end, each with a row group: one that is begun has to be read from its start.

    Paths are soon read again; pictures are not.
    """
    stops, start, row = [], 0, 0
    for rows in group_rows(file):
        row += rows
        if row - start >= part_size:
            stops.append(row)
            start = row
    return stops if row == start else [*stops, row]


def _shards(path: Path) -> Source:
    files = [path] if path.is_file() else find_shards(path)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\n".encode(errors="surrogateescape"))
    parts: list[Part] = [ShardPart(file.resolve()) for file in files]
    return Source(parts, {"path": str(path.resolve()), "shards": len(files), "sha256": digest.hexdigest()})
