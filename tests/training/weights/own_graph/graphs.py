"""Small graphs as people bring them: a convolution and a mean, of pictures in any layout, type and batch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

FEATURES = 6
KERNEL = np.random.default_rng(0).standard_normal((FEATURES, 3, 5, 5), np.float32)


def graph(
    shape: tuple[Any, ...] = ("batch", 3, 16, 16),
    *,
    kind: int = TensorProto.FLOAT,
    channels_last: bool = False,
    outputs: tuple[str, ...] = ("features",),
    reshape_to: tuple[int, ...] | None = None,
    opset: int = 18,
) -> ModelProto:
    """Pictures -> `maps` (N, D, h, w) and `features` (N, D); computed in float32, but for float16."""
    inner = TensorProto.FLOAT16 if kind == TensorProto.FLOAT16 else TensorProto.FLOAT
    nodes, value = [], "pictures"
    if kind != inner:
        nodes.append(helper.make_node("Cast", [value], ["wide"], to=inner))
        value = "wide"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [value], ["planes"], perm=[0, 3, 1, 2]))
        value = "planes"
    nodes += [
        helper.make_node("Conv", [value, "kernel"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
    ]
    kernel = KERNEL.astype(helper.tensor_dtype_to_np_dtype(inner))
    constants = {"kernel": kernel, "shape": np.array(reshape_to or (0, FEATURES), np.int64)}
    return helper.make_model(
        helper.make_graph(
            nodes,
            "own",
            [helper.make_tensor_value_info("pictures", kind, shape)],
            [helper.make_tensor_value_info(name, inner, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=9,
    )


def write(folder: Path, model: ModelProto, **options: Any) -> Path:
    """The file of a graph."""
    file = folder / "own.onnx"
    onnx.save(model, file, **options)
    return file


def features_of(images: np.ndarray, mean: np.ndarray | float, std: np.ndarray | float) -> np.ndarray:
    """What the graph makes of uint8 (N, H, W, 3) pictures that are normalised so, in numpy: (N, D)."""
    values = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(values, (5, 5), axis=(2, 3))  # (N, 3, h, w, 5, 5)
    maps = np.einsum("nchwij,dcij->ndhw", windows, KERNEL)
    return np.maximum(maps, 0).mean(axis=(2, 3))
