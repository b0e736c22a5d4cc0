"""EfficientNet-Lite0 gives what its published weights must give, folded or not, and opens as the paper opens blocks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.backbone import Backbone
from training.model.backbones import backbone
from training.model.convolution import depthwise
from training.model.efficientnet_lite import LITE0, InvertedBottleneck, SameConv2d, Stage
from training.weights.reading import find_weights, read_backbone

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def lite() -> Backbone:
    """The network with ImageNet's weights."""
    network = backbone(LITE0).eval()
    read_backbone(find_weights(LITE0), network)
    return network


def unfolded(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """Features by the published tensors themselves, BatchNorm and all, in the order in which they are stored."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        return F.batch_norm(x, mean, variance, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps=1e-3)

    def same(x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """TensorFlow's SAME: as many rows as make the output ceil(side / stride), the odd one at the end."""
        total = max(0, (-(-x.shape[2] // stride) - 1) * stride + weight.shape[2] - x.shape[2])
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        return F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 and x.shape[1] > 1 else 1)

    strides = {1: 2, 3: 2, 5: 2, 11: 2}  # of the units that halve the sides
    x = F.relu6(norm(same(x, tensors["_conv_stem.weight"], 2), "_bn0"))
    for unit in range(16):
        name, out = f"_blocks.{unit}", x
        if f"{name}._expand_conv.weight" in tensors:
            out = F.relu6(norm(F.conv2d(x, tensors[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
        out = same(out, tensors[f"{name}._depthwise_conv.weight"], strides.get(unit, 1))
        out = F.relu6(norm(out, f"{name}._bn1"))
        out = norm(F.conv2d(out, tensors[f"{name}._project_conv.weight"]), f"{name}._bn2")
        x = x + out if x.shape == out.shape else out
    return F.relu6(norm(F.conv2d(x, tensors["_conv_head.weight"]), "_bn1")).mean(dim=(2, 3))


@pytest.mark.parametrize("side", [64, 96])
def test_the_folded_network_gives_what_the_published_tensors_give(lite: Backbone, side: int) -> None:
    """Folding BatchNorm and the names of units change nothing but rounding, at any side that 32 divides."""
    tensors = {name: value.double() for name, value in torch.load(find_weights(LITE0), weights_only=True).items()}
    pictures = torch.rand(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = unfolded(tensors, pictures)
        features = lite(pictures.float())
    assert features.shape == (2, lite.feature_size)
    torch.testing.assert_close(features.double(), expected, rtol=1e-3, atol=1e-4)


def test_pixels_are_normalised_as_the_weights_were_trained(lite: Backbone) -> None:
    """(x - 127) / 128, not ImageNet's mean and deviation."""
    images = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    assert lite.normalise(images).flatten().tolist() == [-127 / 128, 0.0, 1.0]


def test_a_stride_of_two_pads_less_before_than_after() -> None:
    """A kernel of ones over a picture with one bright corner pixel: only the first output sees it."""
    conv = SameConv2d(1, 1, 3, 2)
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    picture = torch.zeros(1, 1, 4, 4)
    picture[0, 0, 3, 3] = 1.0
    with torch.no_grad():
        assert conv(picture)[0, 0].tolist() == [[0.0, 0.0], [0.0, 1.0]]
        picture[0, 0, 2, 2] = 1.0
        assert conv(picture)[0, 0].tolist() == [[1.0, 1.0], [1.0, 2.0]]


def test_fitting_on_a_cpu_computes_the_same() -> None:
    """The forms that the backward pass is fast in give the outputs of plain convolutions."""
    unit = InvertedBottleneck(4, Stage(1, 5, 1, 3, 4), stride=1)
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = unit(x)
    torch.testing.assert_close(unit(x).detach(), plain, rtol=1e-4, atol=1e-5)


def test_a_convolution_of_each_channel_stays_in_float32() -> None:
    """Under autocast too: what it gives differs from bfloat16's, and its gradients are those of float32."""
    x, weight = torch.randn(1, 4, 5, 5), torch.randn(4, 1, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = depthwise(x.bfloat16(), weight, None, (1, 1), (0, 0))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, F.conv2d(x.bfloat16().float(), weight, groups=4))


@pytest.mark.parametrize(("blocks", "fitted"), [(0, set()), (1, {"block4", "last"}), (2, {"block3", "block4", "last"})])
def test_the_last_blocks_open_with_what_follows_them(blocks: int, fitted: set[str]) -> None:
    """Opening some blocks leaves what comes before them as it was."""
    network = backbone(LITE0)
    network.open(blocks)
    assert {name.partition(".")[0] for name, value in network.named_parameters() if value.requires_grad} == fitted
