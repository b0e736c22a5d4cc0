"""Pictures of a data set -> the outputs of a bundle's model, through the service's preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle
from training.data.pixels import Pixels, read_ahead
from training.data.sets import DataSet
from training.progress import track
from training.scoring.session import Session

BATCH_SIZE = 64


def batches(bundle: Bundle, data: DataSet, what: str = "scoring", *, short_side: int | None = None) -> Iterator[Pixels]:
    """The pictures as the model takes them, in order, uint8 (n, H, W, 3); the next are decoded while some are used.

    With `short_side`, larger pictures are scaled down to it first.
    """
    spec = bundle.manifest.input
    pixels = read_ahead(
        data, BATCH_SIZE, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale, short_side=short_side
    )
    return track(pixels, -(-len(data) // BATCH_SIZE), what)


def score_batches(
    bundle: Bundle, data: DataSet, outputs: Sequence[str], *, short_side: int | None = None
) -> Iterator[dict[str, NDArray[Any]]]:
    """The named outputs, a batch at a time, so that none need be kept."""
    session = Session(bundle.model_path.read_bytes())
    return (session.run(pixels, outputs) for pixels in batches(bundle, data, short_side=short_side))


def score_pictures(
    bundle: Bundle, data: DataSet, outputs: Sequence[str], *, short_side: int | None = None
) -> dict[str, NDArray[Any]]:
    """The named outputs for every picture, in memory."""
    parts = list(score_batches(bundle, data, outputs, short_side=short_side))
    return {name: np.concatenate([part[name] for part in parts]) for name in outputs}
