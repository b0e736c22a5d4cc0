"""Padding is the convolutions' own in the exported graph, and it computes what torch computes."""

import numpy as np
import onnx
import pytest
import torch

from training.model.backbones import backbone
from training.model.efficientnet_lite import LITE0
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
