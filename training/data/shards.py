"""Tar shards in WebDataset's layout: `KEY.jpg` (or .jpeg, .png, .webp) beside `KEY.cls`, which holds the class.

A class is a number, or a name. Beside numbers a file `classes.txt`, a name a line, may say what they are called.

Pictures are shuffled anew for each epoch whatever they lie in, so shards are indexed once, and a picture inside one is
the path `SHARD.tar@OFFSET+SIZE/KEY.jpg`: the bytes at OFFSET of that file. Such paths may stand in list files too.
"""

from __future__ import annotations

import re
import tarfile
from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.paths import Paths
from training.errors import DataError
from training.progress import track

CLASS_SUFFIX = ".cls"
NAMES_FILE = "classes.txt"
END_BYTES = 1024  # zeros
SPAN = re.compile(r"(?P<shard>.*?\.tar)@(?P<offset>\d+)\+(?P<size>\d+)/.*")


class Span(NamedTuple):
    """Where a picture lies inside a shard."""

    shard: str
    offset: int
    size_bytes: int


def span_of(path: str) -> Span | None:
    """What a path inside a shard says; None for the path of a file."""
    if "@" not in path or (match := SPAN.fullmatch(path)) is None:
        return None
    return Span(match["shard"], int(match["offset"]), int(match["size"]))


def find_shards(folder: Path) -> list[Path]:
    """The shards of a folder, in order of their names."""
    return sorted(file for file in folder.glob("*.tar") if file.is_file())


def read_shards(
    folder: Path, shards: Sequence[Path], suffixes: Collection[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Paths, NDArray[np.int64]]:
    """Class names, paths and labels of every picture in the shards.

    Raises DataError for a shard that cannot be read, a picture without a class, or a class that `classes` lacks.
    """
    said: dict[str, int] = {}  # each class as the shards write it, by first appearance
    written = array("q")

    def paths() -> Iterator[str]:
        for path, name in _all_members(shards, suffixes):
            if not name:
                raise DataError(f"The picture {folder / path} has no {CLASS_SUFFIX} file beside it; write its class.")
            written.append(said.setdefault(name, len(said)))
            yield path

    packed = Paths.of(paths())
    if not len(packed):
        raise DataError(f"The shards of {folder} hold no JPEG, PNG or WebP picture; name another folder.")
    names, label_of = _classes(folder, said, tuple(classes or ()))
    return names, packed, np.array(label_of, np.int64)[np.array(written, np.int64)]


def read_unlabelled(shards: Sequence[Path], suffixes: Collection[str]) -> Paths:
    """The paths of every picture in the shards, whatever classes are written beside them."""
    return Paths.of(path for path, _ in _all_members(shards, suffixes))


def read_each_picture(shard: Path, suffixes: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The path and the bytes of each picture of a shard, in one pass; nothing is kept of those that were read.

    Raises DataError where the shard is damaged, after the pictures that come before the damage.
    """
    with _complaints_as_ours(shard), tarfile.open(shard, "r:") as archive:
        for member in archive:
            if member.isfile() and PurePosixPath(member.name).suffix.lower() in suffixes:
                content = archive.extractfile(member)
                yield _path(shard, member), content.read() if content else b""
            archive.members.clear()  # type: ignore[attr-defined]  # or it would keep them all
        _check_end(shard)


def _all_members(shards: Sequence[Path], suffixes: Collection[str]) -> Iterator[tuple[str, str | None]]:
    for shard in track(shards, len(shards), "indexing shards"):
        yield from _members(shard, suffixes)


def _members(shard: Path, suffixes: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """The path of each picture of a shard and its class, where there is one; the two files stand in any order."""
    pictures: list[tuple[str, str]] = []  # key and path
    classes: dict[str, str] = {}
    with _complaints_as_ours(shard), tarfile.open(shard, "r:") as archive:
        _check_end(shard)
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            stem, dot, suffix = name.partition(".")  # a key ends at the first dot of the file's own name
            key = f"{folder}/{stem}" if folder else stem
            if member.isfile() and PurePosixPath(name).suffix.lower() in suffixes:
                pictures.append((key, _path(shard, member)))
            elif member.isfile() and dot + suffix == CLASS_SUFFIX:
                content = archive.extractfile(member)
                classes[key] = content.read().decode().strip() if content else ""
    yield from ((path, classes.get(key)) for key, path in pictures)


@contextmanager
def _complaints_as_ours(shard: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise DataError(f"The shard {shard} is damaged or no plain tar file; write it again.") from error


def _path(shard: Path, member: tarfile.TarInfo) -> str:
    return f"{shard.name}@{member.offset_data}+{member.size}/{member.name}"


def _check_end(shard: Path) -> None:
    """Raise OSError for a shard without the zeros that end every tar file: its last pictures would be missed."""
    with shard.open("rb") as file:
        file.seek(max(0, shard.stat().st_size - END_BYTES))
        if file.read() != bytes(END_BYTES):
            raise OSError("The file lost its end.")


def _classes(folder: Path, said: dict[str, int], known: tuple[str, ...]) -> tuple[tuple[str, ...], list[int]]:
    """Class names, those that are known where there are any, and the label of each entry of `said`."""
    if all(name.isdecimal() for name in said):
        count = max(map(int, said)) + 1
        names = known or _names(folder) or tuple(f"class {label}" for label in range(count))
        if count > len(names):
            raise DataError(f"The shards of {folder} have label {count - 1}, but there are {len(names)} classes.")
        return names, [int(name) for name in said]
    names = known or tuple(sorted(said))
    unknown = next((name for name in said if name not in names), None)
    if unknown is not None:
        raise DataError(f"{folder} holds class {unknown!r}, which the bundle does not know; leave those pictures out.")
    label = {name: position for position, name in enumerate(names)}
    return names, [label[name] for name in said]


def _names(folder: Path) -> tuple[str, ...]:
    file = folder / NAMES_FILE
    return tuple(file.read_text("utf-8").splitlines()) if file.is_file() else ()
