"""Tensors by name out of a file: NumPy's .npz, .safetensors, PyTorch's .pth and .onnx.

Nothing that is read can run code: pickles are read as plain tensors or refused.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from training.errors import CheckpointError

WRAPPERS = ("network", "model", "state_dict")
"""Where checkpoints of a run, of BiT's and of timm's fine-tuning keep their weights."""

SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Every tensor of `file` under its name there, half precision widened to float32.

    Raises CheckpointError for a file that is missing, of an unknown kind, damaged, or a pickle of more than tensors.
    """
    reader = READERS.get(file.suffix)
    if reader is None:
        raise CheckpointError(f"{file} is of no kind that is read here; name a file ending in {', '.join(READERS)}.")
    try:
        return {name: _wide(tensor) for name, tensor in reader(file).items()}
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no file {file}; name weights that exist.") from error
    except Exception as error:  # numpy, zipfile, pickle, protobuf and the file system each have errors of their own
        raise CheckpointError(
            f"{file} cannot be read as weights: it is damaged, or holds code, which is never run; "
            "fetch or write it again."
        ) from error


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def _npz(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as data, np.load(data, allow_pickle=False) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


def _safetensors(file: Path) -> dict[str, Tensor]:
    """Eight bytes of little-endian header length, a JSON header of types, shapes and offsets, then the raw values."""
    with file.open("rb") as data:
        (length,) = struct.unpack("<Q", data.read(8))
        if length > file.stat().st_size:
            raise ValueError("the header is longer than the file")
        header: dict[str, Any] = json.loads(data.read(length))
        header.pop("__metadata__", None)
        return {name: _safetensor(data, 8 + length, entry) for name, entry in header.items()}


def _safetensor(data: BinaryIO, start: int, entry: Mapping[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    data.seek(start + begin)
    raw = bytearray(data.read(end - begin))
    if len(raw) != end - begin:
        raise ValueError("the file ends inside a tensor")
    return torch.frombuffer(raw, dtype=SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])


def _torch(file: Path) -> dict[str, Tensor]:
    state = torch.load(file, map_location="cpu", weights_only=True)
    for wrapper in WRAPPERS:
        state = state.get(wrapper, state)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _onnx(file: Path) -> dict[str, Tensor]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(file, load_external_data=False).graph
    return {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}


READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pth": _torch,
    ".pt": _torch,
    ".bin": _torch,
    ".tar": _torch,
    ".onnx": _onnx,
}
