"""The exported graph computes what torch computes, in few passes over the activations."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from training.model.backbone import Backbone, FeaturesOnly
from training.model.backbones import backbone
from training.model.efficientnet_lite import LITE0
from training.model.onnx_graph import FoldedNorm, fold
from training.scoring.session import Session
from training.weights.reading import find_weights, read_backbone

pytestmark = pytest.mark.numeric

SIDE = 64
SMALL_SIDE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def operations(model: bytes) -> Counter[str]:
    """How many nodes of each kind the graph has."""
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


@pytest.fixture(scope="module")
def bit() -> Backbone:
    """A small BiT whose norms scale and shift each channel differently, some of them upside down."""
    torch.manual_seed(0)
    network = backbone("R11-tiny").eval()
    for norm in norms(network):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return network


@pytest.fixture(scope="module")
def bits_graph(bit: Backbone) -> bytes:
    """It as a graph of small pictures."""
    return bit.to_onnx(SMALL_SIDE)


def norms(network: nn.Module) -> list[nn.GroupNorm]:
    """Every GroupNorm in the network."""
    return [module for module in network.modules() if isinstance(module, nn.GroupNorm)]


def test_a_norm_is_an_instance_norm_and_a_convolution(bit: Backbone, bits_graph: bytes) -> None:
    """Nothing multiplies, nothing adds but the shortcuts, and no shape is computed while running."""
    found = operations(bits_graph)
    count, convolutions = len(norms(bit)), sum(isinstance(module, nn.Conv2d) for module in bit.modules())
    assert (found["InstanceNormalization"], found["Conv"], found["Relu"]) == (count, convolutions + count, count)
    assert (found["Add"], found["Mul"], found["Shape"]) == (bit.block_count, 0, 0)  # one unit in each block
    assert found["Reshape"] == 2 * count


def test_a_norm_is_torchs_group_norm(bit: Backbone) -> None:
    """With torch's own GroupNorm, in the folded network and in ONNX Runtime; all that differs is rounding."""
    pictures = IMAGES[:, :SMALL_SIDE, :SMALL_SIDE]
    folded = fold(FeaturesOnly(bit))
    with torch.no_grad():
        for ours, theirs in zip(_folded_norms(folded), norms(bit), strict=True):
            x = 3 + torch.randn(2, theirs.num_channels, 5, 3)
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
        expected = folded(torch.from_numpy(pictures)).numpy()
    served = Session(bit.to_onnx(SMALL_SIDE)).run(pictures)["features"]
    np.testing.assert_allclose(served, expected, rtol=1e-4, atol=1e-4)


def test_one_number_a_channel_is_not_rounded(bit: Backbone, bits_graph: bytes) -> None:
    """A norm's scale has a kernel's dimensions and is stored in full, under the parameter's name; kernels in half."""
    stored = {tensor.name: tensor for tensor in onnx.load_from_string(bits_graph).graph.initializer}
    for name, parameter in bit.named_parameters():
        tensor = stored[f"backbone.{name}"]
        values = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        if "norm" in name:
            assert torch.equal(values.flatten(), parameter)
        else:
            assert values.dtype == torch.float16


def _folded_norms(folded: nn.Module) -> list[FoldedNorm]:
    return [module for module in folded.modules() if isinstance(module, FoldedNorm)]


def test_lite0s_graph_pads_nowhere_and_gives_torchs_features() -> None:
    """A pad of its own would reorder the whole picture before each convolution with a stride."""
    network = backbone(LITE0)
    read_backbone(find_weights(LITE0), network)
    features = fold(FeaturesOnly(network))
    model = network.to_onnx(SIDE)
    assert "Pad" not in operations(model)
    with torch.no_grad():
        expected = features(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(Session(model).run(IMAGES)["features"], expected, rtol=1e-3, atol=1e-3)
