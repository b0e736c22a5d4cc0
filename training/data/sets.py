"""Data sets: where the pictures are, and which class each is.

A data set is a folder of class folders, a folder of super-class folders of class folders, a folder of tar shards
(`shards.py`), or a list file in the authors' formats (`lists.py`). It holds names and labels only, in arrays, so that
one of millions of pictures is small.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.lists import read_list
from training.data.paths import Paths
from training.data.shards import find_shards, read_shards, read_unlabelled, span_of
from training.errors import DataError

NAMED = 10  # empty folders
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True)
class DataSet:
    """N pictures of C classes. `superclasses` is {super-class: [class, ...]} where the folders have two levels."""

    root: Path
    classes: tuple[str, ...]
    paths: Paths  # relative to root
    labels: NDArray[np.int64]  # (N,) indices into classes
    superclasses: dict[str, list[str]] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, indices: NDArray[np.int64]) -> DataSet:
        """The same classes with only the pictures at `indices`."""
        return DataSet(self.root, self.classes, self.paths.select(indices), self.labels[indices], self.superclasses)

    def fingerprint(self) -> dict[str, str | int]:
        """What identifies the data: how many pictures, and a hash of their names, labels and sizes in bytes."""
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            digest.update(f"{path}\0{label}\0{_size_bytes(self.root / path)}\n".encode(errors="surrogateescape"))
        return {"n": len(self), "classes": len(self.classes), "sha256": digest.hexdigest()}


def read_data_set(path: Path, classes: Sequence[str] | None = None) -> DataSet:
    """Read a folder or a list file. `classes` fixes the order of classes (a bundle's); without it they are sorted.

    Raises DataError for what is missing, empty, or of a class that `classes` does not hold.
    """
    if path.is_file():
        return DataSet(path.parent, *read_list(path, classes))
    if not path.is_dir():
        raise DataError(f"There is no data set at {path}; name a folder of class folders or a list file.")
    folders = _subfolders(path)
    if not folders and (shards := find_shards(path)):
        return DataSet(path, *read_shards(path, shards, SUFFIXES, classes))
    nested = [inner for folder in folders for inner in _subfolders(folder)]
    superclasses = None
    if nested:
        superclasses = {folder.name: [inner.name for inner in _subfolders(folder)] for folder in folders}
        folders = nested
    return _from_folders(path, folders, superclasses, classes)


def read_pictures(path: Path) -> DataSet:
    """Every picture under a folder, or of a list file or shards, as one unlabelled set: an OOD set, say."""
    if path.is_file():
        return read_data_set(path)
    if not path.is_dir():
        raise DataError(f"There is no folder {path}; name a folder of pictures.")
    paths = Paths.of(pictures_below(path))
    if not len(paths):
        paths = read_unlabelled(find_shards(path), SUFFIXES)
    if not len(paths):
        raise DataError(f"{path} holds no JPEG, PNG or WebP picture; name another folder.")
    return DataSet(path, ("unlabelled",), paths, np.zeros(len(paths), np.int64))


def pictures_below(root: Path, folder: str = "") -> Iterator[str]:
    """Paths relative to `root` of the pictures below it, ordered by their parts; the names of one folder are held.

    Raises DataError for a folder that cannot be listed.
    """
    folders: set[str] = set()
    pictures: list[str] = []
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                elif _is_picture(entry):
                    pictures.append(entry.name)
    except OSError as error:
        raise DataError(f"The folder {root / folder} cannot be listed ({error.strerror}); mend it first.") from error
    for name in sorted([*pictures, *folders]):
        path = os.path.join(folder, name)
        if name in folders:
            yield from pictures_below(root, path)
        else:
            yield path


def _from_folders(
    root: Path, folders: list[Path], superclasses: dict[str, list[str]] | None, classes: Sequence[str] | None
) -> DataSet:
    names = sorted(folder.name for folder in folders)
    if not names:
        raise DataError(f"{root} holds no class folders; make one folder a class with its pictures inside.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{root} holds two class folders named {twice!r}; give each class a name of its own.")
    index = {name: position for position, name in enumerate(classes or names)}
    counts: list[int] = []
    ordered = sorted(folders, key=lambda folder: folder.name)
    for folder in ordered:
        if folder.name not in index:
            raise DataError(f"{root} holds class {folder.name!r}, which the bundle does not know; remove that folder.")

    empty: list[str] = []

    def paths() -> Iterator[str]:
        for folder in ordered:
            files = sorted(entry.name for entry in os.scandir(folder) if _is_picture(entry))
            if not files:
                empty.append(str(folder))
            counts.append(len(files))
            home = os.path.relpath(folder, root)
            yield from (os.path.join(home, name) for name in files)

    packed = Paths.of(paths())
    if empty:
        named = ", ".join(empty[:NAMED]) + (f" and {len(empty) - NAMED} more" if len(empty) > NAMED else "")
        raise DataError(f"No JPEG, PNG or WebP picture in class folder {named}; fill it or remove it.")
    labels = np.repeat([index[folder.name] for folder in ordered], counts)
    return DataSet(root, tuple(index), packed, labels.astype(np.int64), superclasses)


def _size_bytes(file: Path) -> int:
    if span := span_of(str(file)):
        return span.size_bytes
    try:
        return file.stat().st_size
    except OSError as error:
        raise DataError(f"The picture {file} cannot be read ({error.strerror}); restore it or remove it.") from error


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file()
