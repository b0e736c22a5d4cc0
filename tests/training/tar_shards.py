"""Tar shards as the tests write them."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path


def write_shard(file: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """A plain tar of members in that order."""
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
