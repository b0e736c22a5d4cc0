"""From a person's file to an `OnnxExtractor`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from onnx import ModelProto

from training.errors import ExportError, GraphError, SettingError
from training.model.onnx_extractor import PREFIX, OnnxExtractor
from training.weights.own_graph.normalisation import Channels, Normalisation, normalisation
from training.weights.own_graph.picture_graph import feature_output, only, served_form, spatial_axes
from training.weights.own_graph.picture_input import PictureInput, picture_input
from training.weights.own_graph.trial import as_it_is, check


@dataclass(frozen=True)
class GraphOptions:
    """What a graph cannot say of itself, where it was typed."""

    mean: Channels | None = None
    std: Channels | None = None
    output: str | None = None  # of the features


def is_own_graph(backbone: str) -> bool:
    """Whether a backbone's name is that of a person's own graph."""
    return backbone.startswith(PREFIX)


def read_own_graph(file: Path, options: GraphOptions, side: int | None = None) -> OnnxExtractor:
    """The graph of a file in its served form, once it has been tried on random pictures.

    `side`, in pixels, is only for a graph that takes any. Raises GraphError that names the file and the remedy.
    """
    try:
        model = _load(file)
        taken = picture_input(model.graph, side)
        range_ = _range(options, taken, file)
        output = feature_output(model, options.output)
        model = only(model, taken, output)
        features = as_it_is(model, taken, range_)
        axes = spatial_axes(features.shape, taken)
        expected = (features.mean(axis=axes) if axes else features).astype(np.float32)
        if not np.isfinite(expected).all():
            raise GraphError("its features of random pictures are not finite; check --mean, --std and the export.")
        origin = "; ".join([_files(file), *_how(taken, range_, output, axes)])
        name = f"{PREFIX}{file.name}"
        served = served_form(model, taken, range_, axes, expected.shape[1], {"name": name, "origin": origin})
        check(served, expected, taken)
    except (GraphError, ExportError) as error:
        raise GraphError(f"{file} cannot be a backbone: {error}") from error
    return OnnxExtractor(served)


def _load(file: Path) -> ModelProto:
    """The model with its weights and functions inside it."""
    try:
        return onnx.inliner.inline_local_functions(onnx.load(file))
    except FileNotFoundError as error:
        raise GraphError(f"there is no file {error.filename}; name one that exists.") from error
    except Exception as error:  # protobuf's, ONNX's checker's on weights that lie beside it
        raise GraphError(
            "it is no ONNX file, is damaged, or its weights do not lie beside it; write it with its weights inside."
        ) from error


def _range(options: GraphOptions, taken: PictureInput, file: Path) -> Normalisation | None:
    """None where the graph takes pixels as they are."""
    if not taken.takes_pixels:
        return normalisation(options.mean, options.std, file)
    if options.mean is not None or options.std is not None:
        raise SettingError(f"{file.name} takes pixels as they are; leave out --mean and --std.")
    return None


def _how(taken: PictureInput, range_: Normalisation | None, output: str, axes: tuple[int, ...]) -> list[str]:
    """How pictures enter it and features come out, for people."""
    enter = "pixels as they are" if range_ is None else str(range_)
    pooled = f"the mean of {output} over its maps" if axes else output
    return [f"RGB in {taken}", enter, f"features are {pooled}"]


def _files(file: Path) -> str:
    """The file, and those that hold its weights, by name and hash."""
    tensors = onnx.load(file, load_external_data=False).graph.initializer
    beside = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return " and ".join(f"{one.name} (sha256 {_sha256(one)})" for one in (file, *map(file.with_name, sorted(beside))))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
