"""Runs on random pictures: what shape a graph's features have, and whether the served form gives just those."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from training.errors import GraphError
from training.scoring.session import Session
from training.weights.own_graph.normalisation import Normalisation
from training.weights.own_graph.picture_input import PictureInput

PICTURES = 3
TOLERANCES: dict[int, float] = {TensorProto.FLOAT16: 0.02}  # of the largest feature
TOLERANCE = 1e-3
NUMPY_TYPES: dict[int, type[np.floating]] = {TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}


def pictures(side: int) -> NDArray[np.uint8]:
    """Random ones, uint8 (`PICTURES`, side, side, 3)."""
    return np.random.default_rng(0).integers(0, 256, (PICTURES, side, side, 3), np.uint8)


def as_it_is(model: ModelProto, taken: PictureInput, range_: Normalisation | None) -> NDArray[Any]:
    """A graph's own features of the random pictures, as many at a time as it was exported for.

    Raises GraphError where ONNX Runtime cannot run it.
    """
    values: NDArray[Any] = pictures(taken.side)
    if range_ is not None:
        values = (values / 255 - np.array(range_.mean)) / np.array(range_.std)
        values = values.astype(NUMPY_TYPES.get(taken.type, np.float32))
    if taken.layout == "NCHW":
        values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    size = taken.batch or 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        parts = [session.run(None, {taken.name: np.repeat(value[None], size, axis=0)})[0][:1] for value in values]
    except Exception as error:  # ONNX Runtime has classes of its own for each thing that can be wrong with a graph
        raise GraphError(f"ONNX Runtime cannot run it ({_reason(error)}); export it anew.") from error
    features: NDArray[Any] = np.concatenate(parts)
    return features


def check(served: bytes, expected: NDArray[np.float32], taken: PictureInput) -> None:
    """Raise GraphError unless the served form gives the `expected` features (n, D), alone and in one batch."""
    images = pictures(taken.side)
    try:
        session = Session(served)
        alone = np.concatenate([session.run(image[None])["features"] for image in images])
    except Exception as error:
        raise GraphError(f"it cannot be served ({_reason(error)}); export it anew.") from error
    _agree(alone, expected, taken, "with pixels before it and at the opset that is served, it gives other features")
    try:
        together = session.run(images)["features"]
    except Exception as error:
        raise GraphError(_one_batch(taken)) from error
    if together.shape != expected.shape:
        raise GraphError(_one_batch(taken))
    _agree(
        together, alone, taken, "its features of a picture depend on the others of its batch; export it after eval()"
    )


def _agree(values: NDArray[Any], expected: NDArray[Any], taken: PictureInput, otherwise: str) -> None:
    allowed = TOLERANCES.get(taken.type, TOLERANCE) * np.abs(expected).max()
    if values.shape != expected.shape or not np.abs(values - expected).max() <= allowed:
        raise GraphError(f"{otherwise}.")


def _one_batch(taken: PictureInput) -> str:
    batch = "of one size" if taken.batch is None else f"of {taken.batch}"
    return (
        f"it takes batches {batch} alone; export it with a dynamic first dimension, for torch by "
        "dynamic_shapes={'INPUT': {0: torch.export.Dim('batch')}}."
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
