"""A bundle's model as an entry of a Triton model repository: `NAME/VERSION/model.onnx` and `NAME/config.pbtxt`.

Triton serves the graph alone: pixels in, MOS and score out. Decoding, the threshold, canaries and drift stay behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from service.bundle import Bundle
from training.errors import SettingError
from training.files import replacing, write_text
from training.scoring.session import Session

MAX_BATCH_SIZE = 32
_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}


def write_triton_entry(bundle: Bundle, repository: Path) -> Path:
    """Write the entry of *bundle* into *repository* and return its folder; an older one of the version is replaced.

    Raises SettingError where Triton could not find it by its name or version, DataError where it cannot be written.
    """
    name, version = bundle.manifest.name, bundle.manifest.version
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not re.fullmatch(r"[1-9][0-9]*", version):
        raise SettingError(
            f"Triton finds no model {name!r} of version {version!r}; export with a --name of letters, digits and ._- "
            "and a --version that is a whole number."
        )
    model = bundle.model_path.read_bytes()
    entry = repository / name
    with replacing(entry / version / "model.onnx") as draft:
        draft.write_bytes(model)
    # Last, for without it the entry is not complete.
    write_text(entry / "config.pbtxt", config(name, Session(model)))
    return entry


def config(name: str, session: Session) -> str:
    """Return the text of `config.pbtxt`, its inputs and outputs those of the graph."""
    return "\n".join(
        [
            f"name: {json.dumps(name)}",
            'backend: "onnxruntime"',
            f"max_batch_size: {MAX_BATCH_SIZE}",
            *(_tensor("input", value) for value in session.inputs),
            *(_tensor("output", value) for value in session.outputs),
            # Batches close at once when an instance is idle, as the service's do.
            "dynamic_batching { }",
            "",
        ]
    )


def _tensor(kind: str, value: Any) -> str:
    """Return the block of one value of the graph; its first dimension is the batch, which Triton adds itself."""
    lines = [f"  name: {json.dumps(value.name)}", f"  data_type: {_TYPES[value.type]}"]
    dims = value.shape[1:]
    if dims:
        lines.append(f"  dims: [ {_list(dims)} ]")
    else:  # Triton has no tensor of no dimensions
        lines += ["  dims: [ 1 ]", "  reshape { shape: [ ] }"]
    return "\n".join([f"{kind} [", "  {", *(f"  {line}" for line in lines), "  }", "]"])


def _list(dims: Iterable[int | str | None]) -> str:
    return ", ".join(str(dim if isinstance(dim, int) else -1) for dim in dims)
