"""EfficientNet-Lite: a small feature extractor that knows ImageNet, for people's own pictures.

Inverted bottlenecks of plain convolutions and ReLU6 (EfficientNet, Tan & Le, 2019, without squeeze-and-excitation and
swish). BatchNorm is folded into the convolutions when the weights are read, so there is none here: each convolution
has a bias, and fitting opened blocks leaves ImageNet's statistics as they are.

Legend: N batch, H and W height and width, D = `EfficientNetLite.feature_size`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from training.model.backbone import Backbone
from training.model.convolution import depthwise, is_fitted_on_cpu, pointwise

LITE0 = "efficientnet-lite0"


class Stage(NamedTuple):
    """A run of bottlenecks of one width; the first of them has the stride."""

    units: int
    kernel: int
    stride: int
    expansion: int
    channels: int


BLOCKS: tuple[tuple[Stage, ...], ...] = (
    (Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24)),
    (Stage(2, 5, 2, 6, 40),),
    (Stage(3, 3, 2, 6, 80), Stage(3, 5, 1, 6, 112)),
    (Stage(4, 5, 2, 6, 192), Stage(1, 3, 1, 6, 320)),
)
"""Lite0's stages by the stride of what comes out: 4, 8, 16 and 32 pixels, as BiT's blocks."""


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow pads for inputs of even sides: with a stride one row less before than after.

    The weights were trained so; symmetric padding would shift every feature map by a pixel.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        # What both sides have alike is the convolution's own: a pad of its own is a pass over the picture.
        before, more = divmod(kernel - stride, 2)
        super().__init__(channels_in, channels_out, kernel, stride, before, groups=groups)
        self.own_padding = (before, before)
        self.pad = (0, more, 0, more)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = F.pad(x, self.pad) if any(self.pad) else x
        if not is_fitted_on_cpu(x):
            return super().forward(x)
        if self.groups == 1 and self.kernel_size == (1, 1):
            return pointwise(x, self.weight, self.stride, self.bias)
        return (
            depthwise(x, self.weight, self.bias, self.stride, self.own_padding)
            if self.groups > 1
            else super().forward(x)
        )


class InvertedBottleneck(nn.Module):
    """1x1 to more channels, a convolution of each channel alone, 1x1 back; added to the input where shapes agree."""

    def __init__(self, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        mid = channels_in * stage.expansion
        self.expand = SameConv2d(channels_in, mid, 1) if stage.expansion > 1 else None
        self.depthwise = SameConv2d(mid, mid, stage.kernel, stride, groups=mid)
        self.project = SameConv2d(mid, stage.channels, 1)
        self.adds_input = stride == 1 and channels_in == stage.channels

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out = x if self.expand is None else F.relu6(self.expand(x))
        out = F.relu6(self.depthwise(out))
        residual: Tensor = self.project(out)
        return residual + x if self.adds_input else residual


class Root(nn.Module):
    """The first convolution, which halves the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = SameConv2d(3, channels, 3, 2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.relu6(self.conv(x))


class EfficientNetLite(Backbone):
    """Lite0: root, blocks, a last 1x1 convolution and ReLU6, spatial mean; sides are multiples of 32 pixels."""

    name = LITE0
    feature_size = 1280
    block_count = len(BLOCKS)
    # Not ImageNet's mean and deviation, which cost these weights a sixth of their accuracy.
    centre = 127.0
    spread = 128.0
    sides = (96, 128, 160, 192, 224)
    sides_divide_by = 32

    def __init__(self) -> None:
        super().__init__()
        channels = 32
        self.root = Root(channels)
        for index, stages in enumerate(BLOCKS):
            block, unit = nn.Sequential(), 0
            for stage in stages:
                for repeat in range(stage.units):
                    unit += 1
                    stride = stage.stride if repeat == 0 else 1
                    block.add_module(f"unit{unit:02d}", InvertedBottleneck(channels, stage, stride))
                    channels = stage.channels
            self.add_module(f"block{index + 1}", block)
        self.last = SameConv2d(channels, self.feature_size, 1)

    def tail(self) -> nn.Module:  # noqa: D102
        return self.last

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.root(x)
        for block in self.blocks():
            x = block(x)
        return F.relu6(self.last(x)).mean(dim=(2, 3))
