"""The backbone is BiT's ResNetV2, to the letter where it is odd."""

import math

import pytest
import torch
from torch.nn import functional as F

from training.errors import UnknownBackbone
from training.model.backbones import backbone
from training.model.bit import KNOWN_BITS, Root, StdConv2d
from training.model.convolution import pointwise

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("R50x1", 25.55),
        ("R101x1", 44.54),
        ("R50x3", 217.32),
        ("R152x2", 236.34),
        ("R101x3", 387.93),
        ("R152x4", 936.53),
    ],
)
def test_bits_backbones_have_their_published_size(name: str, millions: float) -> None:
    """With a head of 1,000 classes, each of BiT's six has the published number of parameters."""
    with torch.device("meta"):
        network = backbone(name)
    count = sum(parameter.numel() for parameter in network.parameters()) + 1000 * (network.feature_size + 1)
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize("name", KNOWN_BITS)
def test_features_have_the_promised_size(name: str) -> None:
    """Every backbone of the table gives (N, D) features for its kind of picture."""
    side = 64 if KNOWN_BITS[name].root_stride is None else 32
    with torch.device("meta"):
        network = backbone(name)
        assert network(torch.empty(2, 3, side, side)).shape == (2, KNOWN_BITS[name].feature_size)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    """The error lists what there is."""
    with pytest.raises(UnknownBackbone, match="R101x1"):
        backbone("R18")


def test_weights_are_standardised_with_the_biased_variance_and_googles_eps() -> None:
    """Each output channel's weights are (w - mean) / sqrt(biased variance + 1e-10)."""
    torch.manual_seed(0)
    conv = StdConv2d(5, 4, 3, bias=False).double()
    weight = conv.weight.detach()
    mean = weight.mean(dim=(1, 2, 3), keepdim=True)
    variance = weight.var(dim=(1, 2, 3), correction=0, keepdim=True)
    expected = (weight - mean) / torch.sqrt(variance + 1e-10)
    torch.testing.assert_close(conv.standardised_weight(), expected, rtol=1e-12, atol=1e-12)


def test_standardising_in_float64_uses_googles_eps() -> None:
    """Nearly constant weights show which eps is added to the variance, also in float64."""
    conv = StdConv2d(2, 1, 1, bias=False).double()
    torch.nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0] = 2e-5  # mean and deviation 1e-5, so variance 1e-10
    expected = 1e-5 / math.sqrt(2e-10)
    assert conv.standardised_weight()[0, 0].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_pointwise_convolution_is_the_convolution(stride: int) -> None:
    """The matrix product that training uses equals the convolution, forward and backward."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, 7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 6, 1, 1, dtype=torch.float64, requires_grad=True)
    ours, reference = pointwise(x, weight, (stride, stride)), F.conv2d(x, weight, None, stride)
    torch.testing.assert_close(ours, reference)
    upstream = torch.randn_like(reference)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (x, weight), upstream), torch.autograd.grad(reference, (x, weight), upstream)
    )


def test_the_root_pools_over_zeros_not_over_minus_infinity() -> None:
    """Where all inputs of the pool are negative, its border is zero: subtly not the same as padding=1."""
    root = Root(4, stride=None)
    root.conv = torch.nn.Conv2d(3, 4, 7, 2, padding=3)  # type: ignore[assignment]
    torch.nn.init.zeros_(root.conv.weight)
    torch.nn.init.constant_(root.conv.bias, -1.0)  # type: ignore[arg-type]
    pooled = root(torch.zeros(1, 3, 32, 32))
    assert pooled.shape == (1, 4, 8, 8)
    assert (pooled[:, :, 0] == 0).all()
    assert (pooled[:, :, 1:, 1:] == -1).all()


def test_the_projection_sees_the_activated_input() -> None:
    """A unit that changes width projects relu(norm(x)), not x: with a huge negative norm bias its output is zero."""
    unit = backbone("R11-tiny").block1.unit01
    torch.nn.init.constant_(unit.norm1.bias, -1e6)
    torch.nn.init.constant_(unit.norm3.bias, -1e6)
    assert (unit(torch.randn(1, 16, 8, 8)) == 0).all()
