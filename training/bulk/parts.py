"""One part: its pictures are judged and written, whole or not at all.

OUT/verdicts/part-000000.parquet has a row for each picture that was judged, OUT/errors/part-000000.parquet one for each
that could not be; the latter is absent where there is none. Files are drafted in OUT/drafts and renamed, the verdicts
last: a part is done when its verdicts are there.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.verdict import Verdict
from training.bulk.sources import Part
from training.errors import DataError, ScoringError
from training.scoring.faults import fault_of
from training.scoring.judging import LocalJudge

METADATA_KEY = "mos_guard"
DRAFTS_FOLDER = "drafts"
ROWS_AT_A_TIME = 10_000
# What a file's name or its rights say of it, and will say again.
LASTING = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM),
    *(errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP),
}
# So many are not missing one by one.
UNREADABLE_IN_A_ROW = 100

# Double where a number is compared with another: the border between in and out would move if it were rounded.
VERDICTS = pa.schema(
    {
        "path": pa.string(),
        "label": pa.string(),
        "class_index": pa.int32(),
        "probability": pa.float64(),
        "group": pa.string(),
        "decision": pa.string(),
        "score": pa.float64(),
        "mos": pa.float64(),
        "threshold": pa.float64(),
        "p_value": pa.float64(),
        "others_scores": pa.list_(pa.float32()),  # (K,), groups in the order of the metadata
    }
)
PLAIN_FIELDS = [name for name in VERDICTS.names if name not in ("path", "others_scores")]
ERRORS = pa.schema({"path": pa.string(), "code": pa.string(), "detail": pa.string()})


@dataclass(frozen=True)
class Results:
    """The folder of a run's results, and what stands in the metadata of every file there."""

    out: Path
    metadata: Mapping[str, Any]

    @property
    def drafts(self) -> Path:
        """The folder of what is not yet whole."""
        return self.out / DRAFTS_FOLDER

    def verdicts(self, number: int) -> Path:
        """The file of a part's verdicts."""
        return self.out / "verdicts" / f"part-{number:06}.parquet"

    def errors(self, number: int) -> Path:
        """The file of a part's errors."""
        return self.out / "errors" / f"part-{number:06}.parquet"

    def has(self, number: int) -> bool:
        """Whether a part is done."""
        return self.verdicts(number).exists()


def score_part(
    judge: LocalJudge, results: Results, number: int, part: Part, advance: Callable[[int], None] = lambda count: None
) -> int:
    """Judge a part and write it; returns how many pictures it has, and tells `advance` of them as they come.

    Raises ScoringError where the model cannot be run or the pictures' disk is in trouble, and DataError where the
    results cannot be written.
    """
    metadata = {METADATA_KEY: json.dumps({**results.metadata, "provider": judge.provider})}
    with drafts(results) as folder:
        with (
            closing(_Table(folder / "verdicts.parquet", VERDICTS.with_metadata(metadata))) as verdicts,
            closing(_Table(folder / "errors.parquet", ERRORS.with_metadata(metadata))) as errors,
        ):
            unreadable = 0
            for picture, outcome in judge.judge(part.read()):
                path = _utf8(picture.path)
                unreadable = unreadable + 1 if isinstance(outcome, OSError) else 0
                _require_lasting(path, outcome, unreadable)
                if isinstance(outcome, Verdict):
                    verdicts.add(_row(path, outcome))
                else:
                    errors.add({"path": path, **fault_of(outcome)._asdict()})
                advance(1)
        _put(errors.file if errors.count else None, results.errors(number))
        _put(verdicts.file, results.verdicts(number))
    return verdicts.count + errors.count


def _require_lasting(path: str, outcome: object, unreadable_in_a_row: int) -> None:
    """Raise ScoringError where a picture cannot be read now and may be read later: such an error is no result."""
    if not isinstance(outcome, OSError):
        return
    if outcome.errno not in LASTING or unreadable_in_a_row >= UNREADABLE_IN_A_ROW:
        raise ScoringError(
            f"{path} cannot be read ({outcome.strerror or outcome}), as where a disk is in trouble or not mounted; "
            "mend that, or the paths, and run the same command again, which goes on with this part."
        )


def _row(path: str, verdict: Verdict) -> dict[str, Any]:
    fields = {name: getattr(verdict, name) for name in PLAIN_FIELDS}
    return {"path": path, **fields, "others_scores": list(verdict.others_scores.values())}


def _utf8(path: str) -> str:
    """What is no UTF-8 in a file's name is written as `\\xFF`, for a column of text cannot hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Table:
    """A Parquet file that is written some rows at a time."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self.file = file
        self.count = 0
        self._rows: list[dict[str, Any]] = []
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def add(self, row: dict[str, Any]) -> None:
        self.count += 1
        self._rows.append(row)
        if len(self._rows) == ROWS_AT_A_TIME:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._writer.schema))
        self._rows.clear()

    def close(self) -> None:
        self._flush()
        self._writer.close()


@contextmanager
def drafts(results: Results) -> Iterator[Path]:
    """A new folder for drafts: two workers that are at the same part do not meet. Raises DataError for a bad disk."""
    try:
        results.drafts.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=results.drafts) as folder:
            yield Path(folder)
    except OSError as error:
        remedy = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
        raise DataError(
            f"{results.out} cannot be written ({error.strerror or error}); {remedy} and run the same command again."
        ) from error


def _put(draft: Path | None, file: Path) -> None:
    """Put a draft into its place, on the disk before it has its name; or see to it that there is nothing."""
    if draft is None:
        file.unlink(missing_ok=True)
        return
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    file.parent.mkdir(exist_ok=True)
    draft.replace(file)
