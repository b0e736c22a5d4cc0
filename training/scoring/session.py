"""ONNX Runtime over the model that will be served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from training.machine import usable_cores


class Session:
    """A model's bytes on the CPU: uint8 (N, H, W, 3) -> {output name: array}."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    @property
    def inputs(self) -> list[Any]:
        """The graph's inputs, each with `name`, `type` and `shape`; a dimension that varies is no number."""
        return list(self._session.get_inputs())

    @property
    def outputs(self) -> list[Any]:
        """The graph's outputs, likewise."""
        return list(self._session.get_outputs())

    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Every output, or those named, for one batch."""
        names = list(outputs or self._names)
        return dict(zip(names, self._session.run(names, {"images": pixels}), strict=True))
