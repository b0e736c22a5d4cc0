"""What tells one state of a bundle's folder from another without reading the bundle."""

from pathlib import Path

from service.bundle import WATCHED_FILES

# Of each file its inode, time of change and size, or None where it is not there.
Identity = tuple[tuple[int, int, int] | None, ...]


def identity_of(path: Path) -> Identity:
    """Return what changes when a link is turned, a folder replaced, or a file written; it raises nothing."""
    return tuple(_state(path / name) for name in WATCHED_FILES)


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
