"""BiT ResNetV2: the paper's feature extractor, in one file.

Weight-standardised convolutions, GroupNorm and pre-activation bottlenecks, as in "Big Transfer" (Kolesnikov et al.,
2020). `KNOWN_BITS` has BiT's six, the paper's five among them, which start with a 7x7 stride-2 root and a max-pool and
expect large pictures, and small ones with a 3x3 root for small pictures and CPUs.

Legend: N batch, C channels, H and W height and width, D = `Bit.feature_size`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.backbone import Backbone
from training.model.convolution import StdConv2d


@dataclass(frozen=True)
class BitConfig:
    """One row of `KNOWN_BITS`.

    `width` is the number of channels out of the first block; each later block doubles it. `root_stride` is for the
    3x3 root of small pictures; None means BiT's 7x7 root and max-pool.
    """

    units: tuple[int, ...]
    width: int
    norm_groups: int = 32
    root_stride: int | None = None

    @property
    def feature_size(self) -> int:
        """D, the number of channels out of the last block."""
        return self.width << (len(self.units) - 1)


KNOWN_BITS: dict[str, BitConfig] = {
    "R50x1": BitConfig((3, 4, 6, 3), width=256),
    "R101x1": BitConfig((3, 4, 23, 3), width=256),
    "R50x3": BitConfig((3, 4, 6, 3), width=768),
    "R152x2": BitConfig((3, 8, 36, 3), width=512),
    "R101x3": BitConfig((3, 4, 23, 3), width=768),
    "R152x4": BitConfig((3, 8, 36, 3), width=1024),
    # For small pictures: `-sN` is the stride of the root.
    "R11-tiny": BitConfig((1, 1, 1), width=32, norm_groups=4, root_stride=2),
    "R26-s2": BitConfig((2, 2, 2, 2), width=128, norm_groups=8, root_stride=2),
    "R35-s2": BitConfig((2, 3, 3, 3), width=128, norm_groups=8, root_stride=2),
}


class Bottleneck(nn.Module):
    """Pre-activation bottleneck: 1x1, 3x3 (with the stride), 1x1, each after GroupNorm and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, norm_groups: int) -> None:
        super().__init__()
        mid = channels_out // 4
        self.norm1 = nn.GroupNorm(norm_groups, channels_in)
        self.conv1 = StdConv2d(channels_in, mid, 1, bias=False)
        self.norm2 = nn.GroupNorm(norm_groups, mid)
        self.conv2 = StdConv2d(mid, mid, 3, stride, padding=1, bias=False)
        self.norm3 = nn.GroupNorm(norm_groups, mid)
        self.conv3 = StdConv2d(mid, channels_out, 1, bias=False)
        self.downsample: StdConv2d | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = StdConv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out = F.relu(self.norm1(x))
        # The projection sees the activated input, as in BiT; many other ResNetV2 project `x` itself.
        shortcut = x if self.downsample is None else self.downsample(out)
        out = self.conv1(out)
        out = self.conv2(F.relu(self.norm2(out)))
        residual: Tensor = self.conv3(F.relu(self.norm3(out)))
        return residual + shortcut


class Root(nn.Module):
    """The first convolution, with BiT's padded max-pool where the backbone is for large pictures."""

    def __init__(self, channels: int, stride: int | None) -> None:
        super().__init__()
        self.pool = stride is None
        if stride is None:
            self.conv = StdConv2d(3, channels, 7, 2, padding=3, bias=False)
        else:
            self.conv = StdConv2d(3, channels, 3, stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.conv(x)
        if not self.pool:
            return x
        # Zeros, then a pool without padding: subtly not the same as padding=1, which pads with minus infinity.
        return F.max_pool2d(F.pad(x, (1, 1, 1, 1)), kernel_size=3, stride=2)


class Bit(Backbone):
    """Root, blocks, final GroupNorm and ReLU, spatial mean; pictures in [-1, 1]."""

    centre = 127.5
    spread = 127.5

    def __init__(self, name: str, config: BitConfig) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.feature_size = config.feature_size
        self.block_count = len(config.units)
        channels = config.width // 4 if config.root_stride is None else config.width // 2
        self.root = Root(channels, config.root_stride)
        for index, units in enumerate(config.units):
            width = config.width * 2**index
            block = nn.Sequential()
            for unit in range(units):
                stride = 2 if unit == 0 and index > 0 else 1
                block.add_module(f"unit{unit + 1:02d}", Bottleneck(channels, width, stride, config.norm_groups))
                channels = width
            self.add_module(f"block{index + 1}", block)
        self.norm = nn.GroupNorm(config.norm_groups, channels)

    def tail(self) -> nn.Module:  # noqa: D102
        return self.norm

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.root(x)
        for block in self.blocks():
            x = block(_with_gradient(x, block))
        return F.relu(self.norm(x)).mean(dim=(2, 3))


def _with_gradient(x: Tensor, following: nn.Module) -> Tensor:
    """`x` as an input that needs a gradient, where what follows is fitted and what came before is frozen.

    On CPUs the backward pass of a channels-last GroupNorm crashes without one (torch 2.13).
    """
    fitted = torch.is_grad_enabled() and next(following.parameters()).requires_grad
    return x.requires_grad_() if fitted and not x.requires_grad else x
