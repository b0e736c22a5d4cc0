"""Audits of OOD sets: which of their pictures really are OOD, by people who looked at them one by one.

An audit is a CSV file in the form of NINCO's `cleaning_annotations`: a header with the columns `image_location` and
`decision`, others ignored; decisions are `o` or `ood`, `i` or `id` (an ID class is to be seen), `u` or `unclear`.
A row means the picture whose path ends as the row's does, or with which the row's path ends: `textures/images/a/1.jpg`
names `a/1.jpg` of a set rooted at `images`.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

PATH_COLUMN = "image_location"
DECISION_COLUMN = "decision"

Decision = Literal["ood", "id", "unclear"]
DECISIONS: dict[str, Decision] = {
    "o": "ood",
    "ood": "ood",
    "i": "id",
    "id": "id",
    "u": "unclear",
    "unclear": "unclear",
}


@dataclass(frozen=True)
class Audit:
    """An audit laid over the N pictures of a set."""

    kept: NDArray[np.bool_]  # (N,) judged OOD: the cleaned set
    counts: dict[Decision, int]  # pictures of the set by decision
    strangers: int  # rows that name no picture of the set

    def sentence(self, name: str) -> str:
        """What the audit says of the OOD set `name`."""
        unjudged = len(self.kept) - sum(self.counts.values())
        counts = self.counts
        said = f"{name}: audited, {counts['ood']} OOD, {counts['id']} ID and {counts['unclear']} unclear"
        if unjudged:
            said += f"; without a decision, and so left out of the cleaned figures: {unjudged}"
        if self.strangers:
            said += f"; rows that name no picture of the set: {self.strangers}"
        return said + "."


def read_audit(file: Path) -> list[tuple[str, Decision]]:
    """The rows of an audit: (path, decision). Raises DataError for what is missing or not a decision."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text)
            if not {PATH_COLUMN, DECISION_COLUMN} <= set(rows.fieldnames or ()):
                raise DataError(
                    f"The audit {file} needs a header with `{PATH_COLUMN}` and `{DECISION_COLUMN}`; add it."
                )
            return [_row(row, f"Line {rows.line_num} of {file}") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The audit {file} cannot be read as CSV; name a file in the form of NINCO's.") from error


def lay_over(rows: Iterable[tuple[str, Decision]], paths: Sequence[str]) -> Audit:
    """Match an audit's rows to the pictures of a set. A picture judged in two ways is unclear.

    Raises DataError for a row that fits several pictures, and where no picture is judged OOD.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    parts = [PurePosixPath(path).parts for path in paths]
    for index, named in enumerate(parts):
        by_name[named[-1]].append(index)
    decisions: dict[int, Decision] = {}
    strangers = 0
    for path, decision in rows:
        wanted = PurePosixPath(path.replace("\\", "/")).parts
        fitting = [index for index in by_name[wanted[-1]] if _one_ends_as_the_other(parts[index], wanted)]
        if len(fitting) > 1:
            raise DataError(f"The audit's row {path!r} fits {len(fitting)} pictures; write more of its path.")
        if not fitting:
            strangers += 1
        elif decisions.setdefault(fitting[0], decision) != decision:
            decisions[fitting[0]] = "unclear"
    kept = np.array([decisions.get(index) == "ood" for index in range(len(paths))], np.bool_)
    if not kept.any():
        raise DataError("The audit judges no picture of the set OOD; check that it is this set's audit.")
    counts = Counter(decisions.values())
    return Audit(kept, {decision: counts[decision] for decision in ("ood", "id", "unclear")}, strangers)


def _row(row: dict[str, str | None], where: str) -> tuple[str, Decision]:
    path, said = (row[PATH_COLUMN] or "").strip(), (row[DECISION_COLUMN] or "").strip().lower()
    if not path or said not in DECISIONS:
        raise DataError(f"{where} needs a path and a decision, one of {', '.join(DECISIONS)}; mend that line.")
    return path, DECISIONS[said]


def _one_ends_as_the_other(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    common = min(len(one), len(other))
    return one[-common:] == other[-common:]
