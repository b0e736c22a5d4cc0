"""Padding is the convolutions' own in the exported graph, and it computes what torch computes."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.backbones import backbone
from training.model.efficientnet_lite import LITE0, SameConv2d
from training.model.onnx_graph import FeaturesOnly, fold, to_onnx
from training.scoring.session import Session
from training.weights.reading import find_weights, read_backbone

pytestmark = pytest.mark.numeric

SIDE = 64
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def operations(model: bytes) -> list[str]:
    """The kinds of the graph's nodes."""
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def test_lite0s_graph_pads_nowhere_and_gives_torchs_features() -> None:
    """A pad of its own would reorder the whole picture before each convolution with a stride."""
    network = backbone(LITE0)
    read_backbone(find_weights(LITE0), network)
    features = fold(FeaturesOnly(network))
    model = to_onnx(features, SIDE, ["features"])
    assert "Pad" not in operations(model)
    with torch.no_grad():
        expected = features(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(Session(model).run(IMAGES)["features"], expected, rtol=1e-3, atol=1e-3)


class PaddedForTwo(nn.Module):
    """A padded picture that a convolution reads, and something else too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = SameConv2d(3, 4, 3, 2)

    def forward(self, images: Tensor) -> Tensor:
        padded = F.pad(images.float().permute(0, 3, 1, 2), (0, 1, 0, 1))
        own = F.conv2d(padded, self.conv.weight, self.conv.bias, stride=2)
        return own.mean(dim=(2, 3)) + padded.mean(dim=(1, 2, 3))[:, None]


def test_a_pad_that_others_read_stays() -> None:
    """What is taken from them would be another number."""
    torch.manual_seed(0)
    module = fold(PaddedForTwo())
    model = to_onnx(module, SIDE, ["features"])
    assert operations(model).count("Pad") == 1
    with torch.no_grad():
        expected = module(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(Session(model).run(IMAGES)["features"], expected, rtol=1e-4, atol=1e-3)
