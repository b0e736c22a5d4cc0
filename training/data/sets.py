"""Data sets: where the pictures are, which class each is, and their pixels.

A data set is a folder of class folders, a folder of super-class folders of class folders, or a list file in the
authors' formats: `path label` a line, or `path group label-inside-the-group`. Pixels come from the service's own
preprocessing, so that what is trained, calibrated and evaluated is what will be served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.errors import InputError
from service.preprocess import decode
from training.errors import DataError
from training.files import write_text

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True)
class DataSet:
    """N pictures of C classes. `superclasses` is {super-class: [class, ...]} where the folders have two levels."""

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]  # relative to root
    labels: NDArray[np.int64]  # (N,) indices into classes
    superclasses: dict[str, list[str]] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: NDArray[np.int64]) -> DataSet:
        """The same classes with only the pictures at `indices`."""
        paths = tuple(self.paths[int(i)] for i in indices)
        return DataSet(self.root, self.classes, paths, self.labels[indices], self.superclasses)

    def rows_of(self, part: DataSet) -> NDArray[np.int64]:
        """Where the pictures of a part of this data set stand in it, (n,)."""
        row = {path: index for index, path in enumerate(self.paths)}
        return np.array([row[path] for path in part.paths], np.int64)

    def fingerprint(self) -> dict[str, str | int]:
        """What identifies the data: how many pictures, and a hash of their names, labels and sizes on disk."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(f"{path}\0{label}\0{_size_bytes(self.root / path)}\n".encode())
        return {"n": len(self), "classes": len(self.classes), "sha256": digest.hexdigest()}


def read_data_set(path: Path, classes: Sequence[str] | None = None) -> DataSet:
    """Read a folder or a list file. `classes` fixes the order of classes (a bundle's); without it they are sorted.

    Raises DataError for what is missing, empty, or of a class that `classes` does not hold.
    """
    if path.is_file():
        return _read_list(path, classes)
    if not path.is_dir():
        raise DataError(f"There is no data set at {path}; name a folder of class folders or a list file.")
    folders = _subfolders(path)
    nested = [inner for folder in folders for inner in _subfolders(folder)]
    superclasses = None
    if nested:
        superclasses = {folder.name: [inner.name for inner in _subfolders(folder)] for folder in folders}
        folders = nested
    return _from_folders(path, folders, superclasses, classes)


def read_pictures(path: Path) -> DataSet:
    """Every picture under a folder as one unlabelled set (an OOD set, say), or a list file's pictures."""
    if path.is_file():
        return _read_list(path, None)
    if not path.is_dir():
        raise DataError(f"There is no folder {path}; name a folder of pictures.")
    paths = tuple(str(file.relative_to(path)) for file in _pictures(path, "**/*"))
    if not paths:
        raise DataError(f"{path} holds no JPEG, PNG or WebP picture; name another folder.")
    return DataSet(path, ("unlabelled",), paths, np.zeros(len(paths), np.int64))


def with_substitutes(data: DataSet, *, seed: int) -> DataSet:
    """The data set as the authors' code sees it: in place of a picture that cannot be read another one, drawn by
    chance, with its label (defect B5).

    Raises DataError where no picture can be read.
    """
    readable = np.array([_is_readable(data.root / path) for path in data.paths])
    if not readable.any():
        raise DataError(f"No picture of {data.root} can be read; name another folder.")
    rows = np.arange(len(data))
    drawn = np.random.default_rng(seed).choice(rows[readable], int((~readable).sum()))
    rows[~readable] = drawn
    return data.select(rows)


def _is_readable(file: Path) -> bool:
    try:
        read_pixels(file, height=1, width=1)
    except DataError:
        return False
    return True


def hold_out(data: DataSet, fractions: Sequence[float], *, seed: int) -> list[DataSet]:
    """Split into one part for each fraction, drawn by chance from every class, and the rest, which comes last.

    Raises DataError when a class has no picture left for the rest.
    """
    generator = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(fractions) + 1)]
    for label, name in enumerate(data.classes):
        members = generator.permutation(np.flatnonzero(data.labels == label))
        edges = np.cumsum([round(fraction * len(members)) for fraction in fractions])
        if len(members) <= edges[-1]:
            raise DataError(
                f"Class {name!r} has {len(members)} pictures, too few to hold {edges[-1]} out; add pictures."
            )
        for part, chosen in zip(parts, np.split(members, edges), strict=True):
            part.append(chosen)
    return [data.select(np.sort(np.concatenate(part))) for part in parts]


def write_list(data: DataSet, file: Path) -> None:
    """Write the authors' flat list, `path label` a line, with absolute paths."""
    root = data.root.resolve()
    lines = (f"{root / path} {label}\n" for path, label in zip(data.paths, data.labels, strict=True))
    write_text(file, "".join(lines))


def read_pixels(file: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """One picture through the service's preprocessing, uint8 (H, W, 3); DataError names a file that is unreadable."""
    try:
        return decode(file.read_bytes(), height=height, width=width)
    except (OSError, InputError) as error:
        raise DataError(f"The picture {file} cannot be read ({error}) Replace it or remove it.") from error


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise DataError(f"The picture {file} cannot be read ({error.strerror}); restore it or remove it.") from error


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.suffix.lower() in SUFFIXES and file.is_file())


def _from_folders(
    root: Path, folders: list[Path], superclasses: dict[str, list[str]] | None, classes: Sequence[str] | None
) -> DataSet:
    found = sorted(folder.name for folder in folders)
    if not found:
        raise DataError(f"{root} holds no class folders; make one folder a class with its pictures inside.")
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise DataError(f"{root} holds two class folders named {twice!r}; give each class a name of its own.")
    index = {name: position for position, name in enumerate(classes or found)}
    paths: list[str] = []
    labels: list[int] = []
    for folder in sorted(folders, key=lambda folder: folder.name):
        if folder.name not in index:
            raise DataError(f"{root} holds class {folder.name!r}, which the bundle does not know; remove that folder.")
        files = _pictures(folder, "*")
        if not files:
            raise DataError(f"Class folder {folder} holds no JPEG, PNG or WebP picture; fill it or remove it.")
        paths += [str(file.relative_to(root)) for file in files]
        labels += [index[folder.name]] * len(files)
    return DataSet(root, tuple(index), tuple(paths), np.array(labels, np.int64), superclasses)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no list file; name a folder, or a text file of `path label` lines.") from error


def _read_list(file: Path, classes: Sequence[str] | None) -> DataSet:
    paths: list[str] = []
    numbers: list[tuple[int, ...]] = []
    for line_number, line in enumerate(_lines(file), 1):
        head, *tail = line.rsplit(" ", 2)
        if len(tail) == 2 and not tail[0].isdecimal():  # a path with spaces, in the flat format
            head, tail = f"{head} {tail[0]}", tail[1:]
        if not tail or not all(number.isdecimal() for number in tail):
            raise DataError(f"Line {line_number} of {file} is not `path label` or `path group label`; mend that line.")
        paths.append(head)
        numbers.append(tuple(int(number) for number in tail))
    if not paths or len({len(entry) for entry in numbers}) != 1:
        raise DataError(f"{file} is empty or mixes the flat and the group format; write one format in every line.")
    order = {entry: label for label, entry in enumerate(sorted(set(numbers)))}
    labels = [entry[0] if len(entry) == 1 else order[entry] for entry in numbers]
    names = tuple(classes) if classes else tuple(f"class {label}" for label in range(max(labels) + 1))
    if max(labels) >= len(names):
        raise DataError(
            f"{file} has label {max(labels)}, but there are {len(names)} classes; check which data it lists."
        )
    return DataSet(file.parent, names, tuple(paths), np.array(labels, np.int64))
