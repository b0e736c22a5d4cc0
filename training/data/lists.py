"""List files in the authors' two formats: `path label` a line, or `path group label-inside-the-group`.

Paths may hold spaces and are relative to the list's folder. A list of millions of lines is read line by line into
arrays.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.paths import Paths
from training.errors import DataError
from training.files import replacing


def read_list(file: Path, classes: Sequence[str] | None) -> tuple[tuple[str, ...], Paths, NDArray[np.int64]]:
    """Class names, paths and labels. In the group format a class is a pair of numbers, and pairs are sorted.

    Raises DataError for a file that is empty, of another form, or has a label that `classes` does not.
    """
    columns = _Columns(file)
    paths = Paths.of(columns.read())
    if not len(paths) or columns.width is None:
        raise DataError(f"{file} is empty; write `path label` or `path group label` in every line.")
    numbers = np.array(columns.numbers, np.int64).reshape(-1, columns.width)
    labels = numbers[:, 0] if columns.width == 1 else np.unique(numbers, axis=0, return_inverse=True)[1].reshape(-1)
    names = tuple(classes) if classes else tuple(f"class {label}" for label in range(int(labels.max()) + 1))
    if labels.max() >= len(names):
        raise DataError(
            f"{file} has label {labels.max()}, but there are {len(names)} classes; check which data it lists."
        )
    return names, paths, labels


def count_lines(file: Path) -> int:
    """How many pictures a list file names."""
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def write_list(root: Path, paths: Sequence[str], labels: NDArray[np.int64], file: Path) -> None:
    """Write the flat format with absolute paths; raises DataError where there is no room."""
    home = root.resolve()
    with replacing(file) as draft, draft.open("w", encoding="utf-8", errors="surrogateescape") as text:
        text.writelines(f"{home / path} {label}\n" for path, label in zip(paths, labels.tolist(), strict=True))


class _Columns:
    """Yields the paths of a list file and keeps its numbers."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.width: int | None = None  # numbers a line, from the first line on
        self.numbers = array("q")

    def read(self) -> Iterator[str]:
        try:
            with self.file.open(encoding="utf-8") as lines:
                for count, line in enumerate(lines, 1):
                    yield self._path(line.rstrip("\n"), count)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{self.file} is no list file; name a folder, or a text file of `path label` lines."
            ) from error

    def _path(self, line: str, count: int) -> str:
        path, *numbers = line.rsplit(" ", 2)
        if len(numbers) == 2 and not numbers[0].isdecimal():  # a path with spaces, in the flat format
            path, numbers = f"{path} {numbers[0]}", numbers[1:]
        if not numbers or not all(number.isdecimal() for number in numbers):
            raise DataError(f"Line {count} of {self.file} is not `path label` or `path group label`; mend that line.")
        if self.width not in (None, len(numbers)):
            raise DataError(f"Line {count} of {self.file} is of the other format; write one format in every line.")
        self.width = len(numbers)
        self.numbers.extend(map(int, numbers))
        return path
