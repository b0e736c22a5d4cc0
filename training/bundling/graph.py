"""A network as one ONNX file: standardised weights folded into constants, MOS computed in the graph.

The graph has plain convolutions. Weights are stored as float16 and widened when the model is loaded: half the file, the
same float32 arithmetic.
"""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from training.errors import ExportError
from training.model.bit import StdConv2d
from training.model.group_softmax import minimum_others_score
from training.model.network import Network

OUTPUTS = (
    "class_index",
    "class_probability",
    "topk_index",
    "topk_probability",
    "others_scores",
    "mos",
    "score",
    "logits",
    "features",
)
TOP_K = 5
OPSET = 20
STORED_IN_HALF = (2, 4)  # dimensions of matrices and of kernels
TOLERANCE = 1e-4
"""Largest difference allowed between torch and ONNX Runtime on probabilities and scores, float32 against float32."""


class Guard(nn.Module):
    """What is served: uint8 (N, H, W, 3) -> `OUTPUTS`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.k = min(TOP_K, network.flat.out_features)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        features = self.network(images)
        logits = self.network.group(features)
        probabilities, others = self.network.group.probabilities(logits)
        topk_probability, topk_index = probabilities.topk(self.k, dim=1)
        mos = minimum_others_score(others)
        # The class is the first of the top k, so that the two can never disagree on a tie.
        return (
            topk_index[:, 0],
            topk_probability[:, 0],
            topk_index,
            topk_probability,
            others,
            mos,
            mos,
            logits,
            features,
        )


def fold(network: Network) -> Network:
    """A copy with plain convolutions of the standardised weights, kernels and matrices rounded to float16."""
    folded = copy.deepcopy(network).eval()
    for module in list(folded.backbone.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, StdConv2d):
                setattr(module, name, _plain(child))
            elif isinstance(child, nn.GroupNorm):
                setattr(module, name, FoldedNorm(child))
    with torch.no_grad():
        for parameter in folded.parameters():
            if parameter.dim() in STORED_IN_HALF:
                parameter.copy_(parameter.half().float())
    return folded


class FoldedNorm(nn.Module):
    """GroupNorm with scale and shift in the shape they are used in, so that the exporter keeps their names."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight = nn.Parameter(norm.weight.detach()[:, None, None].clone())  # (C, 1, 1)
        self.bias = nn.Parameter(norm.bias.detach()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.group_norm(x, self.groups, eps=self.eps) * self.weight + self.bias


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


def to_onnx(folded: Network, size: int) -> bytes:
    """The folded network as one ONNX file with a dynamic batch and float16 weights."""
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    # The exporter misses torchvision, which nothing here needs, and uses parts of torch that warn of their own end.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            Guard(folded).eval(),
            (example,),
            input_names=["images"],
            output_names=list(OUTPUTS),
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
        if tensor.data_type != TensorProto.FLOAT or values.ndim not in STORED_IN_HALF:
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


def check_parity(folded: Network, pixels: NDArray[np.uint8], rows: dict[str, NDArray[Any]]) -> None:
    """Raise ExportError where ONNX Runtime's probabilities or scores differ from torch's by more than `TOLERANCE`."""
    with torch.no_grad():
        expected = dict(zip(OUTPUTS, Guard(folded)(torch.from_numpy(pixels)), strict=True))
    for name in ("class_probability", "others_scores", "mos", "score"):
        difference = float(np.abs(rows[name] - expected[name].numpy()).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"ONNX Runtime's {name} differs from torch's by {difference:.2g}, more than {TOLERANCE:g}; "
                "do not serve this model, and check the versions of torch, onnx and onnxruntime."
            )
