"""Weights on disk: a run's own state, and the readers of backbones made elsewhere.

Everything is written to a temporary name and renamed, and read without pickle's code execution (`weights_only`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.backbone import Backbone
from training.errors import CheckpointError


def save(state: Mapping[str, Any], file: Path) -> None:
    """Write a checkpoint whole or not at all."""
    temporary = file.with_name(file.name + ".partial")
    try:
        torch.save(dict(state), temporary)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"The checkpoint {file} cannot be written ({error.strerror}); free space or name another folder."
        ) from error


def load(file: Path) -> dict[str, Any]:
    """Read what `save` wrote. Raises CheckpointError for a missing or damaged file."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {file}; name the folder of a finished run.") from error
    except Exception as error:  # torch.load raises whatever the damaged bytes lead to
        raise CheckpointError(
            f"The checkpoint {file} cannot be read; it is damaged or no checkpoint. Train again."
        ) from error
    return state


def read_backbone(source: Path, backbone: Backbone) -> None:
    """Fill `backbone` from a run's `network.pt`, or from the model of a bundle (a folder or its .onnx).

    Raises CheckpointError that names the first parameter that is missing or of another shape.
    """
    if source.is_dir():
        source = source / "model.onnx"
    weights = _from_onnx(source) if source.suffix == ".onnx" else _from_run(source)
    for name, parameter in backbone.state_dict().items():
        if name not in weights:
            raise CheckpointError(f"{source} has no weights for {name}; name the backbone that it was trained with.")
        if weights[name].shape != parameter.shape:
            found, wanted = tuple(weights[name].shape), tuple(parameter.shape)
            raise CheckpointError(
                f"{name} is {found} in {source} and {wanted} here; name the backbone it was trained with."
            )
    backbone.load_state_dict({name: weights[name] for name in backbone.state_dict()})


def _from_run(file: Path) -> dict[str, Tensor]:
    prefix = "backbone."
    network: Mapping[str, Tensor] = load(file)["network"]
    return {name.removeprefix(prefix): value for name, value in network.items() if name.startswith(prefix)}


def _from_onnx(file: Path) -> dict[str, Tensor]:
    """The exported weights are already standardised, and standardising them again changes nothing.

    Scales and shifts of norms are stored in the shape they are used in, (C, 1, 1).
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(file, load_external_data=False).graph
    except Exception as error:  # protobuf and the file system each have errors of their own
        raise CheckpointError(
            f"{file} cannot be read as an ONNX model; name a bundle or a run's network.pt."
        ) from error
    prefix = "backbone."
    return {
        tensor.name.removeprefix(prefix): _tensor(numpy_helper.to_array(tensor))
        for tensor in graph.initializer
        if tensor.name.startswith(prefix)
    }


def _tensor(values: NDArray[np.floating]) -> Tensor:
    wide = torch.from_numpy(values.astype(np.float32))
    return wide.flatten() if wide.dim() == 3 else wide
