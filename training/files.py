"""Files that are whole or absent, and one sentence where they cannot be written."""

from __future__ import annotations

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


def reserve_array(file: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A memory-mapped array of zeros in a file that owns its blocks; raises OSError where there is no room.

    Without its blocks, writing through the map to a full disk would kill the process.
    """
    array: np.memmap[Any, Any] = np.lib.format.open_memmap(file, "w+", dtype, shape)
    with file.open("r+b") as opened:
        os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return array
