"""Convolutions in float16, told by an evaluator that computes in the types that the graph names."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from training.bundling.graph import OUTPUTS, Guard
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.half import convolve_in_half
from training.model.network import Network
from training.model.onnx_graph import fold
from training.scoring.session import Session

pytestmark = pytest.mark.numeric

SIDE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
TOLERANCE = 5e-3
"""Of probabilities and scores: a float16 has eleven bits, so each of a dozen convolutions moves its outputs by at most
one part in two thousand for each term, and terms go both ways."""


@pytest.fixture(scope="module")
def graphs() -> tuple[bytes, bytes]:
    """A small BiT with heads that say something, in float32 and in float16."""
    torch.manual_seed(0)
    network = Network(backbone("R11-tiny"), Grouping(("a", "b"), ((0, 2), (1, 3))))
    for head in (network.flat, network.group.linear):
        torch.nn.init.normal_(head.weight, std=0.3)
    model = Guard(fold(network)).to_onnx(SIDE)
    return model, convolve_in_half(model)


def test_only_convolutions_are_computed_in_half(graphs: tuple[bytes, bytes]) -> None:
    """Every convolution reads and gives float16, and nothing else but a cast touches a float16."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graphs[1]), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.input)}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    in_half = {
        node.op_type
        for node in model.graph.node
        if any(types.get(name) == TensorProto.FLOAT16 for name in (*node.input, *node.output))
    }
    assert in_half == {"Cast", "Conv"}
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}


def test_scores_move_by_rounding_alone(graphs: tuple[bytes, bytes]) -> None:
    """Computed in the types that it names, the graph gives float32's scores within the tolerance, and not the same."""
    expected = Session(graphs[0]).run(IMAGES)
    in_full, in_half = (
        dict(zip(OUTPUTS, ReferenceEvaluator(graph).run(list(OUTPUTS), {"images": IMAGES}), strict=True))
        for graph in graphs
    )
    for name in ("class_probability", "others_scores", "mos", "score"):
        assert in_half[name].dtype == np.float32
        np.testing.assert_allclose(in_half[name], expected[name], rtol=0, atol=TOLERANCE, err_msg=name)
    moved, noise = (np.abs(rows["logits"] - expected["logits"]).max() for rows in (in_half, in_full))
    assert moved > 10 * noise, "nothing was rounded"
    assert np.ptp(expected["score"]) > 10 * TOLERANCE, "scores that are all alike prove nothing"


def test_the_cpu_runs_it(graphs: tuple[bytes, bytes]) -> None:
    """It is calibrated there: ONNX Runtime loads it and gives its scores."""
    expected, given = (Session(graph).run(IMAGES) for graph in graphs)
    np.testing.assert_allclose(given["score"], expected["score"], rtol=0, atol=TOLERANCE)


def test_the_file_stays_as_small(graphs: tuple[bytes, bytes]) -> None:
    """The stored weights are what is convolved with, not copies of them."""
    before, after = (len(onnx.load_from_string(graph).graph.initializer) for graph in graphs)
    assert after == before
