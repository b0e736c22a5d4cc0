"""Convolutions: BiT's, and the forms that CPUs fit fastest, whose sums are those of torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STANDARDISATION_EPS = 1e-10
"""Google's value. timm and transformers use 1e-8, which moves the features by about 1e-6."""


class StdConv2d(nn.Conv2d):
    """A convolution whose weights have mean 0 and (biased) variance 1 over each output channel's fan-in."""

    def plain(self) -> nn.Conv2d:
        """The convolution that it is with its weights as they are now."""
        plain = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            self.padding,  # type: ignore[arg-type]
            bias=False,
        )
        with torch.no_grad():
            plain.weight.copy_(self.standardised_weight())
        return plain

    def standardised_weight(self) -> Tensor:
        """The weight that is convolved with, (C_out, C_in, kH, kW)."""
        fan_in = self.weight[0].numel()
        # A layer norm over the fan-in is the standardisation, fused in both directions.
        return F.layer_norm(self.weight.flatten(1), (fan_in,), eps=STANDARDISATION_EPS).view_as(self.weight)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        weight = self.standardised_weight()
        if self.kernel_size == (1, 1) and is_fitted_on_cpu(x):
            return pointwise(x, weight, self.stride)
        return F.conv2d(x, weight, None, self.stride, self.padding)


def is_fitted_on_cpu(x: Tensor) -> bool:
    """Whether gradients are being taken on a CPU, where the forms below pay."""
    return x.device.type == "cpu" and torch.is_grad_enabled()


def pointwise(x: Tensor, weight: Tensor, stride: tuple[int, ...], bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution of (N, C, H, W) as a matrix product over channels.

    The backward pass of small feature maps is up to ten times faster than a convolution's.
    """
    x = x[:, :, :: stride[0], :: stride[1]]
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """A convolution of each channel alone, in float32 also under autocast: bfloat16's backward pass is slower."""
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x.float(), weight, bias, stride, padding, groups=len(weight))
