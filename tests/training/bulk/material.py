"""Pictures for bulk scoring, and what was written about them."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.tiny_bundle import png

RED, GREY = png((235, 20, 20)), png((128, 128, 128))
BROKEN = RED[:-30]


def write_folder(folder: Path, pictures: dict[str, bytes]) -> Path:
    """A folder of pictures by their relative names."""
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def rows(out: Path, table: str = "verdicts") -> list[dict[str, Any]]:
    """All rows of a table of a run's results, in the order of the parts."""
    files = sorted((out / table).glob("*"))
    return [row for file in files for row in pq.read_table(file, partitioning=None).to_pylist()]
