"""What every peer and the ceiling serve: the service's decoder and a session on a bundle's ONNX file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import judging_of, read_bundle
from service.preprocess import decode

ENVIRONMENT = "PEER"
"""The variable with a peer's port, bundle and settings, as JSON: the one way that reaches each of its processes."""

Pixels = NDArray[np.uint8]  # (H, W, 3)


def configuration() -> dict[str, Any]:
    """Return what the benchmark tells a peer."""
    told: dict[str, Any] = json.loads(os.environ[ENVIRONMENT])
    return told


class Model:
    """A bundle's session, and what is answered about a picture: label, probability, score and decision."""

    def __init__(self, path: str | Path, *, intra_op_threads: int, spinning: bool = False) -> None:
        bundle = read_bundle(path)
        assert bundle.calibration is not None, f"{path} is not calibrated"
        judging = judging_of(bundle.manifest, bundle.calibration)
        self._classes = judging["classes"]
        self._threshold_of_class = [judging["thresholds"][group] for group in judging["group_of_class"]]
        self._input = bundle.manifest.input
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        self._session = onnxruntime.InferenceSession(
            str(bundle.model_path), options, providers=["CPUExecutionProvider"]
        )

    def decode(self, encoded: bytes) -> Pixels:
        """Return a picture as the model takes it."""
        spec = self._input
        return decode(encoded, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale)

    def run(self, images: Sequence[Pixels] | NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Return an answer for each of *images*, (N, H, W, 3)."""
        names = ["class_index", "class_probability", "score"]
        columns = (output.tolist() for output in self._session.run(names, {"images": np.stack(list(images))}))
        return [self._answer(*row) for row in zip(*columns, strict=True)]

    def _answer(self, class_index: int, probability: float, score: float) -> dict[str, Any]:
        return {
            "label": self._classes[class_index],
            "probability": probability,
            "score": score,
            "decision": "in" if score >= self._threshold_of_class[class_index] else "out",
        }
