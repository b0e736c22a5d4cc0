"""Files that are whole or absent, and one sentence where they cannot be written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from training.errors import DataError


def write_text(file: Path, text: str) -> None:
    """Write a text file; raises DataError, and leaves what was there, where there is no room."""
    with replacing(file) as draft:
        draft.write_text(text, "utf-8")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A name beside `file` to write to, which takes its place at the end; raises DataError."""
    draft = file.with_name(f"{file.stem}.partial{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(file)
    except OSError as error:
        raise DataError(
            f"{file} cannot be written ({error.strerror or error}); free space or name another folder."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock that a file stands for, which ends with the process too.

    Raises DataError where another holds it, or there can be no such file.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        held = file.open("w")
    except OSError as error:
        raise DataError(f"{file} cannot be written ({error.strerror or error}); name another folder.") from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"{file.parent} is being written to by another run; wait for its end.") from error
        yield


def reserve_array(file: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A memory-mapped array of zeros in a file that owns its blocks; raises OSError where there is no room.

    Without its blocks, writing through the map to a full disk would kill the process.
    """
    array: np.memmap[Any, Any] = np.lib.format.open_memmap(file, "w+", dtype, shape)
    with file.open("r+b") as opened:
        os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return array
