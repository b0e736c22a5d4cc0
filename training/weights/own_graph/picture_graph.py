"""The served form of a graph: pixels are brought to its range and layout before it, its maps are pooled behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.utils
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from training.errors import GraphError
from training.model.onnx_graph import OPSET, at_opset, forget_notes, opset_of
from training.weights.own_graph.normalisation import Normalisation
from training.weights.own_graph.picture_input import PictureInput, shape_text

Step = tuple[str, list[str], dict[str, Any]]
"""A node to be: operator, constants that it reads beside the value that goes through, attributes."""
APART = "own/"
"""Before every name of the graph, so that none is one of ours."""


def feature_output(model: ModelProto, wanted: str | None) -> str:
    """The value that holds the features: the only output, or the one that was asked for, which may lie inside.

    Raises GraphError for several outputs of which none was asked for, and for a name that is not there.
    """
    outputs: dict[str, str] = {value.name: shape_text(value) for value in model.graph.output}
    told = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
    if wanted is None:
        if len(outputs) == 1:
            return next(iter(outputs))
        raise GraphError(f"its outputs are {told}; name the features' with --feature-output.")
    if wanted not in outputs and not any(wanted in node.output for node in model.graph.node):
        raise GraphError(f"it computes no {wanted!r}; its outputs are {told}.")
    return wanted


def only(model: ModelProto, taken: PictureInput, output: str) -> ModelProto:
    """The part of a model that leads from its pictures to one value."""
    if [value.name for value in model.graph.output] == [output]:
        return model
    inner = helper.make_empty_tensor_value_info(output)
    if all(output != value.name for value in (*model.graph.output, *model.graph.value_info)):
        model.graph.value_info.append(inner)
    return onnx.utils.Extractor(model).extract_model([taken.name], [output])


def spatial_axes(shape: Sequence[int], taken: PictureInput) -> tuple[int, ...]:
    """The axes that are averaged over, of features of a shape (N, D), (N, D, h, w) or (N, h, w, D).

    Square pictures have square maps; where that leaves both, the layout is the input's. Raises GraphError.
    """
    if len(shape) == 2:
        return ()
    square = [axes for axes in ((2, 3), (1, 2)) if len(shape) == 4 and shape[axes[0]] == shape[axes[1]]]
    if not square:
        raise GraphError(
            f"its features have the shape {tuple(shape)}; (N, D) is wanted, or maps (N, D, h, w), so name another "
            "value with --feature-output, such as the pooled output or the class token."
        )
    by_layout = (2, 3) if taken.layout == "NCHW" else (1, 2)
    return by_layout if by_layout in square else square[0]


def served_form(
    model: ModelProto,
    taken: PictureInput,
    range_: Normalisation | None,
    axes: tuple[int, ...],
    feature_size: int,
    said: dict[str, str],
) -> bytes:
    """`images`, uint8 (N, side, side, 3) -> `features`, float32 (N, D), of a model with one output.

    Raises ExportError where its opset cannot be raised to what is behind it.
    """
    model = onnx.compose.add_prefix(at_opset(model, max(OPSET, opset_of(model))), APART)
    forget_notes(model)
    graph = model.graph
    before = _before(APART + taken.name, taken, range_)
    behind = _behind(graph.output[0].name, axes)
    nodes = [*before, *graph.node, *behind]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend(_constants(range_, axes))
    side = taken.side
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", side, side, 3]))
    graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", feature_size]))
    helper.set_model_props(model, said)
    served: bytes = model.SerializeToString(deterministic=True)
    return served


def _before(name: str, taken: PictureInput, range_: Normalisation | None) -> list[NodeProto]:
    """From `images` to the graph's own input."""
    steps: list[Step] = []
    if range_ is not None:
        steps += [("Cast", [], {"to": TensorProto.FLOAT}), ("Sub", ["pixels.mean"], {}), ("Div", ["pixels.std"], {})]
    if taken.layout == "NCHW":
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if taken.type not in (TensorProto.UINT8, TensorProto.FLOAT):
        steps.append(("Cast", [], {"to": taken.type}))
    return _line("pixels", "images", steps, name)


def _behind(name: str, axes: tuple[int, ...]) -> list[NodeProto]:
    """From the graph's own output to `features`."""
    steps: list[Step] = [("Cast", [], {"to": TensorProto.FLOAT})]
    if axes:
        steps.append(("ReduceMean", ["pooled.axes"], {"keepdims": 0}))
    return _line("pooled", name, steps, "features")


def _line(called: str, first: str, steps: list[Step], last: str) -> list[NodeProto]:
    """Nodes one after the other from the value `first` to the value `last`."""
    steps = steps or [("Identity", [], {})]
    names = [first, *(f"{called}.{place}" for place in range(1, len(steps))), last]
    return [
        helper.make_node(kind, [names[place], *constants], [names[place + 1]], **attributes)
        for place, (kind, constants, attributes) in enumerate(steps)
    ]


def _constants(range_: Normalisation | None, axes: tuple[int, ...]) -> list[TensorProto]:
    constants = {}
    if range_ is not None:
        constants["pixels.mean"] = 255 * np.array(range_.mean, np.float32)
        constants["pixels.std"] = 255 * np.array(range_.std, np.float32)
    if axes:
        constants["pooled.axes"] = np.array(axes, np.int64)
    return [numpy_helper.from_array(value, name) for name, value in constants.items()]
