"""How each maker of BiT checkpoints names and stores tensors, and what they are called here.

Our names: the parameters of `Backbone`, then `flat`, `group` or (not known which) `head`, with `.weight` and `.bias`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Replacement: TypeAlias = str | Callable[[re.Match[str]], str]


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _from_hwio(tensor: Tensor) -> Tensor:
    """Google's kernels (height, width, in, out) as (out, in, height, width)."""
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.dim() == 4 else tensor


def _from_graph(tensor: Tensor) -> Tensor:
    """Exported scales of norms are stored in the shape they are used in, (C, 1, 1, 1); once, shifts too, as (C, 1, 1).

    Exported convolutions are already standardised, and standardising them again changes nothing.
    """
    return tensor.flatten() if tensor.dim() > 2 and tensor.numel() == len(tensor) else tensor


@dataclass(frozen=True)
class Layout:
    """One kind of checkpoint."""

    root: str  # its name for the weight of the root convolution, which tells it from the others
    rules: tuple[tuple[str, Replacement], ...]  # pattern and replacement, applied in order
    arrange: Callable[[Tensor], Tensor] = _as_it_is

    def our_name(self, name: str) -> str:
        """What one of its tensors is called here."""
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name


def _numbered(part: str) -> Callable[[re.Match[str]], str]:
    """Google's parts a, b and c of a unit are convolutions and norms 1, 2 and 3."""
    return lambda match: f"/{part}{'abc'.index(match[1]) + 1}/"


def _timm_unit(match: re.Match[str]) -> str:
    return f"block{int(match[1]) + 1}.unit{int(match[2]) + 1:02d}."


OURS = Layout(
    "backbone.root.conv.weight",
    ((r"^backbone\.", ""), (r"^group\.linear\.", "group.")),
    _from_graph,
)
GOOGLE = Layout(
    "resnet/root_block/standardized_conv2d/kernel",
    (
        (r"^resnet/", ""),
        (r"^root_block/standardized_conv2d/", "root/conv/"),
        (r"/a/proj/standardized_conv2d/", "/downsample/"),
        (r"/([abc])/standardized_conv2d/", _numbered("conv")),
        (r"/([abc])/group_norm/", _numbered("norm")),
        (r"^group_norm/", "norm/"),
        (r"^head/conv2d/", "flat/"),
        (r"/(kernel|gamma)$", "/weight"),
        (r"/beta$", "/bias"),
        (r"/", "."),
    ),
    _from_hwio,
)
TIMM = Layout(
    "stem.conv.weight",
    (
        (r"^stem\.", "root."),
        (r"^stages\.(\d+)\.blocks\.(\d+)\.", _timm_unit),
        (r"\.downsample\.conv\.", ".downsample."),
        (r"^head\.fc\.", "flat."),
    ),
)
OFFICIAL = Layout(
    "module.root.conv.weight",
    (
        (r"^module\.(body\.)?", ""),
        (r"^before_head\.gn\.", "norm."),
        (r"\.gn(\d)\.", r".norm\1."),
        (r"^head\.conv\.", "head."),
    ),
)
"""The authors' fine-tuned checkpoints."""


def layout_of(names: Iterable[str]) -> Layout | None:
    """The layout of a checkpoint with tensors of these names, or None for none that is known here."""
    return next((layout for layout in (OURS, GOOGLE, TIMM, OFFICIAL) if layout.root in names), None)
