"""Files of JSON lines: appended to by one process, rotated by size, bounded in number, and whole after every fault.

The file that is written has the plain name; full ones are `NAME.1` (the youngest), `NAME.2` and so on. Whoever reads
them skips a line that is no JSON: a process that was killed, or a disk that was full, can leave a torn one.
"""

import errno
import fcntl
import json
import logging
import os
import stat
import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

from service.errors import SettingError

_log = logging.getLogger(__name__)


def json_line(members: Mapping[str, object]) -> bytes:
    """Return *members* as one line of JSON, its newline included."""
    return json.dumps(members).encode("ascii") + b"\n"


def timestamp(seconds: float) -> str:
    """Return *seconds* of `time.time` as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class LineFile:
    """At most *max_files* files of at most *max_bytes* each, the one that is written included.

    Where all are full the oldest goes, or, with *keeps_all*, no line is taken until somebody moves one away. *setting*
    is the variable that *path* came from, for sentences. Raises SettingError where *path* cannot be written, or is
    written already by somebody else.
    """

    def __init__(self, path: Path, *, setting: str, max_bytes: int, max_files: int, keeps_all: bool = False) -> None:
        self._path = path
        self._name = f"{setting}={path}"
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._keeps_all = keeps_all
        self._descriptor: int | None = None
        self._size_bytes = 0
        self._is_failing = False
        self._writing = threading.Lock()
        try:
            self._lock = _lock(path.with_name(f"{path.name}.lock"))
        except BlockingIOError as error:
            raise SettingError(
                f"{self._name}: it is being written already; give each process, and each log, a file of its own."
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._open()
        except OSError as error:
            os.close(self._lock)
            raise self._unusable(error) from error

    def write(self, lines: Sequence[bytes]) -> int:
        """Append *lines*, each with its newline, and return how many, in order, are in the file whole.

        A fault is logged once, as is its end, and everything is tried anew at the next call.
        """
        written = 0
        with self._writing:
            try:
                while written < len(lines):
                    written += self._write_what_fits(lines[written:])
            except OSError as error:
                self._close()
                if not self._is_failing:
                    _log.error("%s takes no lines: %s.", self._name, error.strerror)
            was_failing, self._is_failing = self._is_failing, written < len(lines)
            if was_failing and not self._is_failing:
                _log.warning("%s takes lines again.", self._name)
        return written

    def close(self) -> None:
        """Close the file and let others write it."""
        # Where a write is stuck, its thread still has the descriptor: then both are left to the end of the process.
        if self._writing.acquire(blocking=False):
            self._close()
            os.close(self._lock)

    def _write_what_fits(self, lines: Sequence[bytes]) -> int:
        """Append as many *lines* as the current file has room for, in one write, and return how many are whole."""
        if self._descriptor is None or self._was_moved():
            self._open()
        if self._size_bytes > 0 and self._size_bytes + len(lines[0]) > self._max_bytes:
            self._rotate()
        assert self._descriptor is not None
        ends_bytes = list(accumulate(map(len, lines)))
        count = max(1, bisect_right(ends_bytes, self._max_bytes - self._size_bytes))
        size_bytes = os.write(self._descriptor, b"".join(lines[:count]))
        self._size_bytes += size_bytes
        if size_bytes < ends_bytes[count - 1]:
            self._close()  # opened anew, the file has its torn line ended, or says why it takes no more
        return bisect_right(ends_bytes, size_bytes)

    def _was_moved(self) -> bool:
        """Say whether somebody took the file away, as one does with lines that are to be read elsewhere."""
        assert self._descriptor is not None
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def _rotate(self) -> None:
        numbers = range(1, self._max_files)
        # A file that was moved away, or a process that was killed in here, leaves a gap: it is filled first.
        gap = next((number for number in numbers if not self._numbered(number).exists()), None)
        if gap is None and self._keeps_all:
            raise OSError(errno.ENOSPC, f"all {self._max_files} files are full; move the numbered ones away")
        for number in range(gap or numbers[-1], 0, -1):
            os.replace(self._numbered(number - 1), self._numbered(number))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _open(self) -> None:
        self._close()
        # For reading too, because of the torn line; and a pipe that is opened so does not wait for its reader.
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            self._size_bytes = status.st_size
            if self._size_bytes > 0 and os.pread(descriptor, 1, self._size_bytes - 1) != b"\n":
                self._size_bytes += os.write(descriptor, b"\n")
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _unusable(self, error: OSError) -> SettingError:
        return SettingError(
            f"{self._name}: it cannot be written ({error.strerror}); name a file in a folder that can be."
        )


def _lock(path: Path) -> int:
    """Return the descriptor of *path* with the lock that ends with it; raises BlockingIOError where another has it."""
    # A file of its own, for a lock on the lines would go away with them at each rotation.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
