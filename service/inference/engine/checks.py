"""Whether a session is what the manifest and the provider promise: its inputs, its outputs, and where its nodes run."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from service.bundle import Manifest
from service.errors import BundleError, ProviderError
from service.inference.engine.sessions import INPUT, RUNTIME_NAMES, Provider

_TYPE_NAMES: dict[type[np.generic], str] = {
    np.uint8: "tensor(uint8)",
    np.float32: "tensor(float)",
    np.int64: "tensor(int64)",
}
# The nodes that nearly all of the time goes to; a few small ones about shapes stay on the CPU by ONNX Runtime's choice.
_HEAVY = {"Conv", "Gemm", "MatMul"}


class Value(NamedTuple):
    """An input or output of the graph: its type and the shape of one image's part, None where any size will do."""

    dtype: type[np.generic]
    shape: tuple[int | None, ...]


class Output(NamedTuple):
    """An output that a Row needs: its type and the shape of one image's part."""

    dtype: type[np.generic]
    shape: tuple[int, ...]


def row_outputs(manifest: Manifest) -> dict[str, Output]:
    """The outputs that a Row needs; a graph of schema 1 has no `mos`."""
    k = min(5, len(manifest.classes))
    outputs = {
        "class_index": Output(np.int64, ()),
        "class_probability": Output(np.float32, ()),
        "topk_index": Output(np.int64, (k,)),
        "topk_probability": Output(np.float32, (k,)),
        "others_scores": Output(np.float32, (len(manifest.groups),)),
        "score": Output(np.float32, ()),
    }
    return outputs if manifest.schema_version == 1 else outputs | {"mos": Output(np.float32, ())}


def check_graph(session: Any, manifest: Manifest) -> None:
    """Raise BundleError unless the graph has the inputs and outputs that the manifest implies."""
    outputs = {
        **{name: Value(*output) for name, output in row_outputs(manifest).items()},
        "logits": Value(np.float32, (len(manifest.classes) + len(manifest.groups),)),
        "features": Value(np.float32, (None,)),
    }
    inputs = {INPUT: Value(np.uint8, (manifest.input.height, manifest.input.width, 3))}
    _check_values("input", session.get_inputs(), inputs)
    _check_values("output", session.get_outputs(), outputs)


def _check_values(kind: str, values: Any, expected: Mapping[str, Value]) -> None:
    """Compare ONNX values with *expected*.

    The first dimension must be dynamic; a dimension that the graph does not state passes, for `predict` checks it.
    """
    actual = {value.name: value for value in values}
    if actual.keys() != expected.keys():
        raise BundleError(f"The model's {kind}s are {sorted(actual)}, not {sorted(expected)}; export the bundle again.")
    for name, (dtype, shape) in expected.items():
        batch, *rest = actual[name].shape or [0]
        fits = len(rest) == len(shape) and all(
            not isinstance(stated, int) or wanted in (None, stated) for stated, wanted in zip(rest, shape, strict=False)
        )
        if actual[name].type != _TYPE_NAMES[dtype] or isinstance(batch, int) or not fits:
            raise BundleError(
                f"The model's {kind} {name} is {actual[name].type} {actual[name].shape}, which does not fit the "
                "manifest; export the bundle again."
            )


def require_placed(session: Any, provider: Provider) -> None:
    """Raise ProviderError where a session on a GPU has left convolutions or matrix products to the CPU.

    ONNX Runtime does so, node by node, wherever the provider has no kernel, and tells nobody.
    """
    if provider == "cpu":
        return
    left_behind = {
        node.op_type
        for subgraph in session.get_provider_graph_assignment_info()
        if subgraph.ep_name == RUNTIME_NAMES["cpu"]
        for node in subgraph.get_nodes()
    }
    if heavy := sorted(_HEAVY & left_behind):
        raise ProviderError(
            f"The session runs on {provider} but computes {', '.join(heavy)} on the CPU; "
            "export the bundle in another precision, or ask for cpu."
        )
