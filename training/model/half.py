"""A graph whose convolutions are computed in float16 and everything else in float32.

Convolutions are nearly all of the work, and what a GPU's matrix units do in float16 at a multiple of the rate. Means,
variances, sums along the shortcuts, softmax and scores stay in float32: in float16 they would lose what a threshold is
about. Weights were stored in float16 already, so the file holds the same network.

ONNX Runtime's CPU provider has no such convolutions: it takes the casts out in pairs and computes in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx.shape_inference
from onnx import NodeProto, TensorProto, helper

from training.errors import ExportError


def convolve_in_half(model: bytes) -> bytes:
    """The same graph with each convolution between casts to float16 and back; inputs and outputs keep their types.

    Raises ExportError for a graph of a person's own in which that is impossible.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    # A tensor's name -> that of its half; to begin with, the stored weights that the graph widens when it is loaded.
    halves = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast" and node.input[0] in constants
    }
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes += _in_half(node, halves) if node.op_type == "Conv" else [node]
    used = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    del graph.node[:]
    graph.node.extend(node for node in nodes if used.intersection(node.output))
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            "The graph's convolutions cannot be put in float16, as when they are already; leave out --precision."
        ) from error
    serialised: bytes = proto.SerializeToString()
    return serialised


def _in_half(conv: NodeProto, halves: dict[str, str]) -> Iterator[NodeProto]:
    """The convolution with a cast of what it reads, where there is none yet, and of what it gives."""
    for name in conv.input:
        if name not in halves:
            halves[name] = f"{name}.float16"
            yield helper.make_node("Cast", [name], [halves[name]], to=TensorProto.FLOAT16)
    [wide] = conv.output
    conv.input[:] = [halves[name] for name in conv.input]
    conv.output[:] = [f"{wide}.float16"]
    yield conv
    yield helper.make_node("Cast", [f"{wide}.float16"], [wide], to=TensorProto.FLOAT)
