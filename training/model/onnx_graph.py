"""A module as one ONNX file: standardised weights folded into constants, kernels and matrices stored in half.

The graph has plain convolutions, between which the activations stay in the layout that ONNX Runtime's kernels want.
Weights are stored as float16 and widened when the model is loaded: half the file, the same float32 arithmetic.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from training.errors import ExportError
from training.model.backbone import Backbone
from training.model.bit import StdConv2d

Module = TypeVar("Module", bound=nn.Module)

OPSET = 20


class FeaturesOnly(nn.Module):
    """A backbone from pixels: uint8 (N, H, W, 3) -> (N, D)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        features: Tensor = self.backbone(self.backbone.normalise(images))
        return features


def fold(module: Module) -> Module:
    """A copy with plain convolutions of the standardised weights, kernels and matrices rounded to float16."""
    folded = copy.deepcopy(module).eval()
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, StdConv2d):
                setattr(parent, name, _plain(child))
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


def _plain(conv: StdConv2d) -> nn.Conv2d:
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=False,
    )
    with torch.no_grad():
        plain.weight.copy_(conv.standardised_weight())
    return plain


def to_onnx(folded: nn.Module, side: int, outputs: Sequence[str]) -> bytes:
    """A folded module of pictures `images`, uint8 (N, side, side, 3), as one ONNX file with a dynamic batch.

    Raises ExportError where the exporter gives nothing.
    """
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    # The exporter misses torchvision, which nothing here needs, and uses parts of torch that warn of their own end.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # Without gradients, or convolutions would be traced in the form that they are fitted in.
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        program = torch.onnx.export(
            folded.eval(),
            (example,),
            input_names=["images"],
            output_names=list(outputs),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("The exporter returned no model; report the versions of torch and onnxscript.")
    model = program.model_proto
    _name_backbone(model)
    _store_half(model)
    del model.graph.value_info[:]  # types noted before the weights became float16
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's notes hold source paths
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString()
    return serialised


def _name_backbone(model: onnx.ModelProto) -> None:
    """Initializers are named as the network's parameters; strip the wrapper's prefix."""
    prefix = "network."
    renamed = {t.name: t.name.removeprefix(prefix) for t in model.graph.initializer if t.name.startswith(prefix)}
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


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
