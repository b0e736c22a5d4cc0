"""The pictures that benchmarks send: photos of ordinary size and small ones; from a folder, or made."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.server_process import ROOT

SHARED_PHOTOS = ROOT.parent / "shared" / "data" / "photos.tar"


def photos() -> list[bytes]:
    """JPEGs of ordinary size; made ones where the public ones are not here."""
    if SHARED_PHOTOS.exists():
        with tarfile.open(SHARED_PHOTOS) as archive:
            return [file.read() for member in archive if member.isfile() and (file := archive.extractfile(member))]
    return made_photos()


def from_folder(folder: Path, at_most: int = 100) -> list[bytes]:
    """Return the pictures under *folder*, evenly spread where there are more than *at_most*."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    return [path.read_bytes() for path in paths[:: max(1, len(paths) // at_most)][:at_most]]


def made_photos() -> list[bytes]:
    """JPEGs of 500 x 375, soft and so smaller than photos are."""
    return list(_made("JPEG", (500, 375), 20))


def made_small() -> list[bytes]:
    """PNGs of 32 x 32."""
    return list(_made("PNG", (32, 32), 100))


def _made(kind: str, size: tuple[int, int], count: int) -> Iterator[bytes]:
    random = np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        buffer = io.BytesIO()
        coarse.resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
        yield buffer.getvalue()
