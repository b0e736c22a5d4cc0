"""What tells one state of a bundle's folder from another without reading the bundle."""

import os
from pathlib import Path

from service.bundle import CANARY_FOLDER, WATCHED_FILES

# Of each file its name, and its inode, times of change (of content and of all else) and size, or None where it is not
# there or may not be seen.
State = tuple[int, int, int, int] | None
Identity = tuple[tuple[str, State], ...]


def identity_of(path: Path) -> Identity:
    """Return what changes when a link is turned, a folder replaced, or a file written or opened; it raises nothing."""
    names = [*WATCHED_FILES, *(f"{CANARY_FOLDER}/{name}" for name in _names(path / CANARY_FOLDER))]
    return tuple((name, _state(path / name)) for name in names)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _state(file: Path) -> State:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
