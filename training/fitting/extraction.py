"""Features of a frozen backbone: worker processes decode, the network runs, and a thread writes, all at one time.

On a CPU the backbone runs as it will be served: folded, on ONNX Runtime, which takes a third of torch's time. So the
heads are fitted on the very features that they will meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.bundle import InputSpec
from training.data import loader
from training.data.augment import AUGMENTATIONS, crop, draw_crop
from training.data.pixels import PictureSource
from training.distributed import device, rank, wait_for_all, world_size
from training.fitting.feature_cache import CHUNK, CacheWriter, chunk_rows, missing, open_cache, read_cache
from training.model.backbone import Backbone, FeatureExtractor
from training.model.onnx_graph import fold
from training.progress import track
from training.scoring.session import Session

WORTH_AN_EXPORT = 2_000  # pictures; writing the graph takes some seconds

Extractor = Callable[[Tensor], NDArray[np.float32]]
"""uint8 (n, side, side, 3) -> features (n, D)."""


@dataclass(frozen=True)
class Views:
    """What is extracted of each picture: view 0 as it is served, view 1 its mirror image, further ones augmented."""

    count: int = 1
    load_side: int | None = None  # that pictures are squashed to before the crop of an augmented view
    augmentation: str = "none"
    seed: int = 0


@dataclass(frozen=True)
class ViewReader:
    """The pictures of each chunk in every view that is wanted of it: [uint8 (n, side, side, 3), ...]."""

    pictures: PictureSource
    side: int
    views: Views
    wanted: NDArray[np.bool_]  # (V, chunks)

    def at(self, chunk: int) -> list[Tensor]:
        """Decode a chunk once, for all its views."""
        rows = chunk_rows(chunk, len(self.pictures))
        wanted = np.flatnonzero(self.wanted[:, chunk]).tolist()
        squares = {side: self._read(rows, side) for side in {self._side(view) for view in wanted}}
        return [self._view(view, squares[self._side(view)], int(rows[0])) for view in wanted]

    def _side(self, view: int) -> int:
        """That pictures are squashed to for a view; only augmented ones are cropped."""
        return self.side if view < 2 else self.views.load_side or self.side

    def _view(self, view: int, squares: Tensor, first_row: int) -> Tensor:
        if view == 0:
            return squares
        return squares.flip(2) if view == 1 else self._augmented(squares, view, first_row)

    def _augmented(self, loaded: Tensor, view: int, first_row: int) -> Tensor:
        generator = torch.Generator().manual_seed((self.views.seed * 1009 + view) * 1_000_003 + first_row)
        augmentation = AUGMENTATIONS[self.views.augmentation]
        window = draw_crop(len(loaded), loaded.shape[1], self.side, generator)
        draws = augmentation.draw(len(loaded), self.side, generator)
        return augmentation.apply(crop(loaded, self.side, window), draws)

    def _read(self, rows: NDArray[np.int64], side: int) -> Tensor:
        return torch.from_numpy(self.pictures.read(rows, side))


def extract(
    backbone: FeatureExtractor, pictures: PictureSource, side: int, *, bf16: bool = False, workers: int | None = None
) -> Iterator[Tensor]:
    """Features of every picture as it is served, in order: float32 (n, D) at a time, so that none need be kept.

    By the backbone as it is: one that is being fitted changes from one call to the next.
    """
    chunks = range(-(-len(pictures) // CHUNK))
    reader = ViewReader(pictures, side, Views(), np.ones((1, len(chunks)), np.bool_))
    run = _as_it_is(backbone, bf16)
    for (images,) in track(loader.read(reader, chunks, workers=workers), len(chunks), "extracting features"):
        yield torch.from_numpy(run(images))


def extract_all(
    backbone: FeatureExtractor, pictures: PictureSource, side: int, *, bf16: bool = False, workers: int | None = None
) -> Tensor:
    """Features of every picture as it is served, in memory: float32 (N, D)."""
    chunks = extract(backbone, pictures, side, bf16=bf16, workers=workers)
    return torch.cat([torch.empty(0, backbone.feature_size), *chunks])


def cached_features(
    folder: Path,
    backbone: FeatureExtractor,
    pictures: PictureSource,
    side: int,
    views: Views | None = None,
    *,
    bf16: bool = False,
    half: bool = False,
    workers: int | None = None,
) -> NDArray[np.floating]:
    """Memory-mapped features (V, N, D) of some pictures, computed where `folder` does not hold them yet.

    With `half` they are kept as float16, in half the room. Several processes (torchrun) share the work.
    Raises DataError for a cache of something else, a full disk, or a picture that cannot be read.
    """
    views = views or Views()
    shape = (views.count, len(pictures), backbone.feature_size)
    if rank() == 0:
        key = _key(backbone, pictures, side, views, bf16=bf16) | {"shape": list(shape)}
        open_cache(folder, key | ({"dtype": "float16"} if half else {}), shape, np.float16 if half else np.float32)
    wait_for_all()
    wanted = missing(folder)
    # Every process counts what is left before any process ticks anything off.
    wait_for_all()
    mine = np.flatnonzero(wanted.any(axis=0))[rank() :: world_size()].tolist()
    if mine:
        run = extractor(backbone, side, len(mine) * CHUNK * views.count, bf16=bf16)
        _fill(CacheWriter(folder), run, ViewReader(pictures, side, views, wanted), mine, workers=workers)
    wait_for_all()
    return read_cache(folder)


def class_means(features: Iterator[Tensor], labels: NDArray[np.int64], class_count: int) -> NDArray[np.float32]:
    """Mean feature of each class, (C, D), of features (n, D) that come in the order of `labels` (N,)."""
    sums, start = torch.zeros(()), 0
    for chunk in features:
        if not start:
            sums = torch.zeros(class_count, chunk.shape[1], dtype=torch.float64)
        sums.index_add_(0, torch.from_numpy(labels[start : start + len(chunk)]), chunk.double())
        start += len(chunk)
    counts = torch.from_numpy(np.bincount(labels, minlength=class_count))
    means: NDArray[np.float32] = (sums / counts[:, None]).float().numpy()
    return means


def _key(
    backbone: FeatureExtractor, pictures: PictureSource, side: int, views: Views, *, bf16: bool
) -> dict[str, object]:
    """What the features of a cache are of; the recipe of the views counts from the first augmented one on."""
    recipe = [views.load_side or side, views.augmentation, views.seed]
    return {
        "data": pictures.fingerprint(),
        "preprocess_sha256": InputSpec(height=side, width=side, jpeg_scale=pictures.jpeg_scale).sha256,
        "weights_sha256": backbone.sha256(),
        "views": views.count,
        "view_recipe": recipe if views.count > 2 else None,
        "bf16": bf16,
    }


def _fill(
    writer: CacheWriter, run: Extractor, reader: ViewReader, chunks: Sequence[int], *, workers: int | None
) -> None:
    pictures = loader.read(reader, chunks, workers=workers)
    written: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="write") as disk:
        for chunk, views in track(zip(chunks, pictures, strict=True), len(chunks), "extracting features"):
            wanted = np.flatnonzero(reader.wanted[:, chunk]).tolist()
            for view, images in zip(wanted, views, strict=True):
                features = run(images)
                if written is not None:
                    written.result()  # one write behind, and its error is raised here
                written = disk.submit(writer.write, view, chunk, features)
        if written is not None:
            written.result()


def extractor(backbone: FeatureExtractor, side: int, pictures: int, *, bf16: bool = False) -> Extractor:
    """A frozen backbone as it will be served: on ONNX Runtime on a CPU, by torch on a GPU, in bfloat16, or for few
    pictures. What is a graph already always runs on ONNX Runtime.
    """
    if isinstance(backbone, Backbone) and (bf16 or device().type != "cpu" or pictures < WORTH_AN_EXPORT):
        return _as_it_is(fold(backbone), bf16)
    session = Session(backbone.to_onnx(side))

    def run(images: Tensor) -> NDArray[np.float32]:
        features: NDArray[np.float32] = session.run(images.numpy())["features"]
        return features

    return run


def _as_it_is(backbone: FeatureExtractor, bf16: bool) -> Extractor:
    if isinstance(backbone, Backbone):
        backbone.to(device()).eval()

    def run(images: Tensor) -> NDArray[np.float32]:
        with torch.no_grad(), torch.autocast(device().type, torch.bfloat16, enabled=bf16):
            features = backbone.features(images.to(device(), non_blocking=True))
        of_all: NDArray[np.float32] = features.float().cpu().numpy()
        return of_all

    return run
