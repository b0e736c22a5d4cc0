"""A full disk without a disk: no file of a process can grow beyond a size, until the block ends."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def full_disk(size_bytes: int, process_id: int = 0) -> Iterator[None]:
    """Let every file of the process, or of this one, end at *size_bytes*: a write beyond is cut short, then fails."""
    before = resource.prlimit(process_id, resource.RLIMIT_FSIZE)
    resource.prlimit(process_id, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process_id, resource.RLIMIT_FSIZE, before)
