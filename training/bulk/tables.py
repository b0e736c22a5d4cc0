"""Pictures in Parquet: a column of paths, of encoded bytes, or of Hugging Face's structs of both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataError, ScoringError, SettingError
from training.scoring.judging import Picture

PATH_NAMES = ("path", "file_path", "image_path", "file", "file_name", "filename", "image")
KEY_NAMES = ("key", "__key__", "id", "image_id", *PATH_NAMES)
Held = Literal["paths", "bytes", "structs"]
ROWS_AT_A_TIME = 256
PAGES_AT_A_TIME_BYTES = 1 << 20


@dataclass(frozen=True)
class Columns:
    """Which column has the pictures, what it holds, and which column identifies them.

    Without a *key* a picture is identified by its path, or else by its file and row.
    """

    picture: str
    holds: Held
    key: str | None = None


@dataclass(frozen=True)
class TablePart:
    """The rows from *start* up to *stop* of a Parquet file; its own name and paths in it are relative to *root*."""

    file: Path
    root: Path
    columns: Columns
    start: int
    stop: int

    @property
    def count(self) -> int:
        """How many pictures."""
        return self.stop - self.start

    def read(self) -> Iterator[Picture]:
        """The pictures, some rows in memory at a time; those behind a damage are there too, each with the error.

        Raises ScoringError where the table cannot be read now.
        """
        following = self.start
        try:
            for row, entry, key in self._rows():
                following = row + 1
                yield self._picture(row, entry, key)
        except DataError as error:
            for row in range(following, self.stop):
                yield Picture(f"{self.name}#{row}", error)

    @property
    def name(self) -> str:
        """The file in what identifies a picture that has no key, and in what is said of it."""
        return os.path.relpath(self.file, self.root)

    def _rows(self) -> Iterator[tuple[int, Any, Any]]:
        """The number, the picture and the key of each row."""
        picture, key = self.columns.picture, self.columns.key
        with open_table(self.file) as table:
            for row, batch in _batches(table, [picture, key] if key else [picture], self.start, self.stop):
                entries = batch.column(picture).to_pylist()
                keys = batch.column(key).to_pylist() if key else [None] * batch.num_rows
                yield from zip(range(row, row + batch.num_rows), entries, keys, strict=True)

    def _picture(self, row: int, entry: Any, key: Any) -> Picture:
        path = content = None
        if self.columns.holds == "structs":
            path, content = (entry or {}).get("path"), (entry or {}).get("bytes")
        elif self.columns.holds == "paths":
            path = entry
        else:
            content = entry
        if content is None and path:
            content = self.root / os.fsdecode(path)
        identity = path if self.columns.key is None else key
        # Where there is nothing, no bytes are judged, which is an error like any other.
        return Picture(f"{self.name}#{row}" if identity in (None, "", b"") else _text(identity), content or b"")


def row_count(file: Path) -> int:
    """How many rows a Parquet file has, by its footer. Raises DataError."""
    with open_table(file) as table:
        return int(table.metadata.num_rows)


def group_rows(file: Path) -> list[int]:
    """How many rows each row group of a Parquet file has. Raises DataError."""
    with open_table(file) as table:
        return [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]


def columns_of(file: Path, picture: str | None, key: str | None) -> Columns:
    """The columns that were named, or those that can be meant; raises SettingError, or DataError for a bad file."""
    with open_table(file) as table:
        schema = table.schema_arrow
    held = {field.name: holds for field in schema if (holds := _held(field.type))}
    picture = picture or _only(file, held)
    for name, known in ((picture, held), (key, schema.names)):
        if name is not None and name not in known:
            raise SettingError(f"{file} has no such column as {name!r}; it has {', '.join(schema.names)}.")
    if key is None and held[picture] == "bytes":
        key = next((name for name in KEY_NAMES if name in schema.names and name != picture), None)
    return Columns(picture, held[picture], key)


def _only(file: Path, held: Mapping[str, Held]) -> str:
    """The one column that can be meant: of pictures where there are any, or else of paths."""
    meant = [name for name, holds in held.items() if holds != "paths"]
    if not meant:
        meant = [name for name in PATH_NAMES if name in held][:1] or list(held)
    if len(meant) != 1:
        said = f"the columns {', '.join(meant)}, each of which may be" if meant else "no column that can be"
        raise SettingError(f"{file} has {said} the pictures or their paths; name one by --column.")
    return meant[0]


def _held(kind: pa.DataType) -> Held | None:
    """What a column of this type can hold."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return "bytes"
    if pa.types.is_struct(kind):
        return "structs" if kind.get_field_index("bytes") >= 0 else None
    return "paths" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def _text(identity: Any) -> str:
    return os.fsdecode(identity) if isinstance(identity, bytes) else str(identity)


@contextmanager
def open_table(file: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file that is read some pages at a time.

    Raises DataError for whatever is wrong with it, and ScoringError where the system cannot read it, which may pass.
    """
    try:
        with pq.ParquetFile(file, buffer_size=PAGES_AT_A_TIME_BYTES, pre_buffer=False) as table:
            yield table
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:  # Arrow's own, of what it finds in a file, have no number
            raise ScoringError(
                f"{file} cannot be read ({error.strerror or error}); mend that and run the same command again."
            ) from error
        raise DataError(f"{file} is damaged or no Parquet; write it again.") from error


def _batches(table: pq.ParquetFile, columns: list[str], start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows from *start* up to *stop*, some at a time, each time with the number of the first."""
    row = 0
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if row + rows <= start or stop <= row:
            row += rows
            continue
        for batch in table.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=columns, use_threads=False):
            first, last = max(start, row), min(stop, row + batch.num_rows)
            if first < last:
                yield first, batch.slice(first - row, last - first)
            row += batch.num_rows
            if stop <= row:
                return
