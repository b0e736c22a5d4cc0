"""Features of a frozen backbone: computed once, kept on disk, read through memory maps.

A cache is a folder. `features.json` is its fingerprint: the data, the preprocessing, the weights and the views that
the features are of; a cache of anything else is refused. Rows are written in chunks and each is ticked off when it is
on the disk, so an interrupted extraction goes on where it stopped, and several processes (torchrun) share the work;
processes on several machines need the folder on a disk that all of them see.

views.npy      float32 (V, N, D): V views of N pictures; view 0 is the picture as it is served, view 1 its mirror
               image, and further ones are augmented as the recipe says
done.npy       uint8 (V, chunks): 1 where the chunk is on the disk
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.bundle import InputSpec
from training.data.augment import AUGMENTATIONS, crop
from training.data.pixels import Pictures
from training.data.sets import DataSet
from training.distributed import device, rank, wait_for_all, world_size
from training.errors import DataError
from training.files import write_text
from training.model.backbone import Backbone
from training.model.network import normalise
from training.progress import track

CHUNK = 256  # pictures, also the batch of the forward pass
KEY_NAME = "features.json"
VIEWS_NAME = "views.npy"
DONE_NAME = "done.npy"

View = Callable[[NDArray[np.int64]], Tensor]
"""Rows (n,) of the data -> uint8 pictures (n, H, W, 3)."""


def extract(backbone: Backbone, pictures: Pictures, *, bf16: bool = False) -> Tensor:
    """Features of every picture as it is served, in memory: float32 (N, D)."""
    view = _views(pictures, pictures, "none", 1, seed=0)[0]
    backbone.to(device()).eval()
    starts = range(0, len(pictures), CHUNK)
    chunks = [
        _forward(backbone, view(_rows(start, len(pictures))), bf16)
        for start in track(starts, len(starts), "extracting features")
    ]
    return torch.cat([torch.empty(0, backbone.feature_size), *chunks])


def cached_features(
    folder: Path,
    backbone: Backbone,
    data: DataSet,
    side: int,
    *,
    load_side: int | None = None,
    augmentation: str = "none",
    views: int = 1,
    seed: int = 0,
    bf16: bool = False,
) -> NDArray[np.float32]:
    """Memory-mapped features (V, N, D) of `data`, computed where `folder` does not hold them yet.

    Raises DataError for a cache of something else, a full disk, or a picture that cannot be read.
    """
    key = {
        "data": data.fingerprint(),
        "preprocess_sha256": InputSpec(height=side, width=side).sha256,
        "weights_sha256": weights_sha256(backbone),
        "views": views,
        "view_recipe": [load_side or side, augmentation, seed] if views > 2 else None,
        "bf16": bf16,
        "shape": [views, len(data), backbone.feature_size],
    }
    if rank() == 0:
        _open(folder, key)
    wait_for_all()
    done = _map(folder / DONE_NAME, "r")
    mine = [spot for index, spot in enumerate(np.argwhere(done == 0)) if index % world_size() == rank()]
    # Every process counts what is left before any process ticks anything off.
    wait_for_all()
    if len(mine):
        pictures = Pictures(data, side)
        loaded = pictures if load_side in (None, side) or views <= 2 else Pictures(data, load_side or side)
        shown = _views(pictures, loaded, augmentation, views, seed=seed)
        backbone.to(device()).eval()
        features, done = _map(folder / VIEWS_NAME, "r+"), _map(folder / DONE_NAME, "r+")
        for view, chunk in track(mine, len(mine), "extracting features"):
            rows = _rows(int(chunk) * CHUNK, len(data))
            features[view, rows] = _forward(backbone, shown[view](rows), bf16).numpy()
            features.flush()
            done[view, chunk] = 1
            done.flush()
    wait_for_all()
    return _map(folder / VIEWS_NAME, "r")


def weights_sha256(backbone: Backbone) -> str:
    """A hash of every weight of a backbone."""
    digest = hashlib.sha256()
    for name, value in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _map(file: Path, mode: Literal["r", "r+"]) -> np.memmap[Any, Any]:
    try:
        mapped: np.memmap[Any, Any] = np.load(file, mmap_mode=mode)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} is damaged or missing; delete its folder and extract the features again.") from error
    return mapped


def _open(folder: Path, key: dict[str, Any]) -> None:
    """Make an empty cache, or make sure that the one there is of `key`."""
    file = folder / KEY_NAME
    if file.is_file():
        if _read_key(file) != key:
            raise DataError(
                f"The features in {folder} are of other data, weights or views; name another folder or delete it."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        views, count, _ = key["shape"]
        _reserve(folder / VIEWS_NAME, np.float32, key["shape"])
        _reserve(folder / DONE_NAME, np.uint8, (views, -(-count // CHUNK)))
        write_text(file, json.dumps(key, indent=1))
    except OSError as error:
        (folder / VIEWS_NAME).unlink(missing_ok=True)
        raise DataError(
            f"The features cannot be kept in {folder} ({error.strerror}); free space or name another folder."
        ) from error


def _read_key(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError:
        return None


def _reserve(file: Path, dtype: type[np.generic], shape: Sequence[int]) -> None:
    """A file of zeros that owns its blocks: writing through a memory map to a full disk would kill the process."""
    np.lib.format.open_memmap(file, "w+", dtype, tuple(shape))
    with file.open("r+b") as opened:
        os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _views(pictures: Pictures, loaded: Pictures, augmentation: str, count: int, *, seed: int) -> list[View]:
    """The first `count` views: as served, mirrored, and then augmented pictures of `loaded`."""

    def augmented(index: int) -> View:
        def view(rows: NDArray[np.int64]) -> Tensor:
            generator = torch.Generator().manual_seed((seed * 1009 + index) * 1_000_003 + int(rows[0]))
            images = crop(torch.from_numpy(loaded.at(rows)), pictures.side, generator)
            return AUGMENTATIONS[augmentation](images, generator)

        return view

    plain: View = lambda rows: torch.from_numpy(pictures.at(rows))  # noqa: E731
    mirrored: View = lambda rows: plain(rows).flip(2)  # noqa: E731
    return [plain, mirrored, *(augmented(index) for index in range(2, count))][:count]


def _rows(start: int, count: int) -> NDArray[np.int64]:
    return np.arange(start, min(start + CHUNK, count))


def _forward(backbone: Backbone, images: Tensor, bf16: bool) -> Tensor:
    with torch.no_grad(), torch.autocast(device().type, torch.bfloat16, enabled=bf16):
        features: Tensor = backbone(normalise(images.to(device()))).float().cpu()
    return features
