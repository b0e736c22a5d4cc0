"""Pictures -> the outputs of the ONNX file that will be served. No torch: it runs inside the service's image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import Bundle
from training.data.sets import DataSet, read_pixels
from training.progress import track

BATCH_SIZE = 64


class Session:
    """ONNX Runtime over a model's bytes, on the CPU: uint8 (N, H, W, 3) -> {output name: array}."""

    def __init__(self, model: bytes) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Every output, or those named, for one batch."""
        names = list(outputs or self._names)
        return dict(zip(names, self._session.run(names, {"images": pixels}), strict=True))


def score_pictures(bundle: Bundle, data: DataSet, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The named outputs of the bundle's model for every picture of `data`, through the service's preprocessing."""
    session = Session(bundle.model_path.read_bytes())
    spec = bundle.manifest.input

    def load(path: str) -> NDArray[np.uint8]:
        return read_pixels(data.root / path, height=spec.height, width=spec.width)

    parts: list[dict[str, NDArray[Any]]] = []
    starts: Iterable[int] = range(0, len(data), BATCH_SIZE)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in track(starts, len(range(0, len(data), BATCH_SIZE)), "scoring"):
            batch = np.stack(list(pool.map(load, data.paths[start : start + BATCH_SIZE])))
            parts.append(session.run(batch, outputs))
    return {name: np.concatenate([part[name] for part in parts]) for name in outputs}
