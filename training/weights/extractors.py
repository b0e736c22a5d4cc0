"""What a run starts from: a backbone by its name, with the weights that were named for it."""

from __future__ import annotations

from pathlib import Path

from training.errors import CheckpointError
from training.model.backbone import FeatureExtractor
from training.model.backbones import backbone
from training.weights.own_graph.reading import GraphOptions, is_own_graph, read_own_graph
from training.weights.reading import read_backbone


def read_extractor(name: str, weights: Path | None, graph: GraphOptions | None, side: int) -> FeatureExtractor:
    """A backbone of `BACKBONE_NAMES` with these weights, or at random without; or a person's own graph of that file.

    `graph` and `side`, in pixels, are for the latter alone. Raises CheckpointError for weights that do not fit,
    GraphError for a graph that cannot be a backbone.
    """
    if is_own_graph(name):
        if weights is None:
            raise CheckpointError(f"{name} names no file; write onnx:FILE.")
        return read_own_graph(weights, graph or GraphOptions(), side)
    extractor = backbone(name)
    if weights is not None:
        read_backbone(weights, extractor)
    return extractor
