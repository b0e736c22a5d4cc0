"""A module as one ONNX file: standardised weights folded into constants, kernels and matrices stored in half.

The graph has plain convolutions, between which the activations stay in the layout that ONNX Runtime's kernels want.
Weights are stored as float16 and widened when the model is loaded: half the file, the same float32 arithmetic.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import onnx
import onnx.compose
import onnx.version_converter
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from training.errors import ExportError
from training.model.convolution import StdConv2d

Module = TypeVar("Module", bound=nn.Module)

OPSET = 20


def fold(module: Module) -> Module:
    """A copy with plain convolutions of the standardised weights, kernels and matrices rounded to float16."""
    folded = copy.deepcopy(module).eval()
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, StdConv2d):
                setattr(parent, name, child.plain())
            elif isinstance(child, nn.GroupNorm):
                setattr(parent, name, FoldedNorm(child))
    with torch.no_grad():
        for parameter in folded.parameters():
            if stored_in_half(parameter.shape):
                parameter.copy_(parameter.half().float())
    return folded


def stored_in_half(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape is a matrix or a kernel; one number for each channel stays in float32."""
    return len(shape) in (2, 4) and math.prod(shape) > shape[0]


class FoldedNorm(nn.Module):
    """GroupNorm in the operations that ONNX Runtime has fast kernels for, with scale and shift under their own names.

    The exporter's GroupNorm multiplies by ones and adds zeros, scales, shifts, and each of them, and the ReLU after it,
    is a pass over the activations. Here a group is normalised as one instance; scale and shift are a 1x1 convolution of
    each channel alone, which takes the ReLU into itself and has its output in the next convolution's layout.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight = nn.Parameter(norm.weight.detach()[:, None, None, None].clone())  # (C, 1, 1, 1)
        self.bias = nn.Parameter(norm.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        channels, height, width = x.shape[1:]
        groups = x.reshape(-1, self.groups, channels // self.groups * height * width)
        normalised = F.instance_norm(groups, eps=self.eps).reshape(-1, channels, height, width)
        return F.conv2d(normalised, self.weight, self.bias, groups=channels)


def to_onnx(folded: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> bytes:
    """A folded module as one ONNX file with a dynamic batch; `inputs` are examples (n, ...), by name, in their order.

    Initializers are named as the module's parameters. Raises ExportError where the exporter gives nothing.
    """
    # The exporter misses torchvision, which nothing here needs, and uses parts of torch that warn of their own end.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    batch = {0: torch.export.Dim("batch")}
    # Without gradients, or convolutions would be traced in the form that they are fitted in.
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        program = torch.onnx.export(
            folded.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=(batch,) * len(inputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("The exporter returned no model; report the versions of torch and onnxscript.")
    model = program.model_proto
    _store_half(model)
    forget_notes(model)
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString()
    return serialised


def forget_notes(model: onnx.ModelProto) -> None:
    """Leave out what an exporter noted beside the graph: source paths, and types that later changes make wrong."""
    del model.graph.value_info[:]
    for noted in (*model.graph.node, *model.graph.input, *model.graph.output):
        del noted.metadata_props[:]
        noted.doc_string = ""
    del model.metadata_props[:]


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model by the rules of a later opset; itself where it follows them already.

    Raises ExportError where ONNX's converter cannot.
    """
    if opset_of(model) == opset:
        return model
    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # the converter's own, ONNX's checker's and whatever their C++ throws
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"A graph of opset {opset_of(model)} cannot be converted to opset {opset} ({reason}); "
            f"export it with opset {OPSET}."
        ) from error


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model was written by."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OPSET)


def chain(first: bytes, second: bytes, outputs: Sequence[str]) -> bytes:
    """One graph of two: the second reads `features` from the first. `outputs` of both, `features` too, in this order.

    Inputs, outputs and parameters keep their names, which no two of them share.
    """
    head, tail = onnx.load_from_string(first), onnx.load_from_string(second)
    opset = max(opset_of(head), opset_of(tail))
    head, tail = at_opset(head, opset), at_opset(tail, opset)
    head.ir_version = tail.ir_version = max(head.ir_version, tail.ir_version)
    of_features = "features.judged"
    rename(tail, {name: f"judged/{name}" for name in inner_names(tail)} | {"features": of_features})
    for node in tail.graph.node:
        node.ClearField("name")  # which no two nodes of the whole may share
    model = onnx.compose.merge_models(head, tail, io_map=[("features", of_features)], outputs=list(outputs))
    by_name = {output.name: output for output in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(by_name[name] for name in outputs)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def inner_names(model: onnx.ModelProto) -> set[str]:
    """Names that nothing outside refers to: not those of inputs, outputs and parameters, which have a dot in theirs."""
    graph = model.graph
    named = {value.name for value in (*graph.input, *graph.output)} | {""}
    inner = {name for node in graph.node for name in (*node.input, *node.output)} - named
    return inner - {tensor.name for tensor in graph.initializer if "." in tensor.name}


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename values of a graph that has no graphs inside it."""
    graph = model.graph
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)


def _store_half(model: onnx.ModelProto) -> None:
    """Keep kernels and matrices as float16 and widen them in the graph, which ONNX Runtime does once, at load."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or not stored_in_half(values.shape):
            continue
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue  # a constant that the fold did not round
        wide = f"{tensor.name}.float32"
        for node in graph.node:
            node.input[:] = [wide if name == tensor.name else name for name in node.input]
        casts.append(helper.make_node("Cast", [tensor.name], [wide], to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
