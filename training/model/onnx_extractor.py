"""A feature extractor that was made elsewhere, with anything, and came as an ONNX graph: it is run and served as it is.

Nothing here asks what the graph does inside. `training/weights/own_graph` brings a person's file into this form.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Self

import onnx
import torch
from torch import Tensor

from training.errors import CheckpointError, SettingError
from training.files import replacing
from training.model.backbone import FeatureExtractor
from training.scoring.session import Session

PREFIX = "onnx:"
"""Of a backbone's name that is a graph's file."""


class OnnxExtractor(FeatureExtractor):
    """A graph of `images`, uint8 (N, side, side, 3) -> `features`, float32 (N, D). It never changes.

    The file's metadata hold its `name` and `origin`: which file it came from, and how pictures enter it.
    """

    def __init__(self, graph: bytes) -> None:
        self.graph = graph
        model = onnx.load_from_string(graph)
        said: dict[str, str] = {entry.key: entry.value for entry in model.metadata_props}
        self.name, self.origin = said["name"], said["origin"]
        self.side: int = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        self.feature_size = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @cached_property
    def _session(self) -> Session:
        return Session(self.graph)

    def features(self, images: Tensor) -> Tensor:
        """Of (N, side, side, 3); mixtures of pictures are rounded to whole numbers, which is what the graph takes."""
        pixels = images if images.dtype == torch.uint8 else images.round().to(torch.uint8)
        return torch.from_numpy(self._session.run(pixels.cpu().numpy())["features"]).to(images.device)

    def to_onnx(self, side: int) -> bytes:  # noqa: D102
        if side != self.side:
            raise SettingError(f"{self.name} takes pictures of {self.side} x {self.side} pixels, not of {side}.")
        return self.graph

    def sha256(self) -> str:  # noqa: D102
        return hashlib.sha256(self.graph).hexdigest()

    def open(self, blocks: int | None) -> None:
        """Nothing can be opened. Raises SettingError for anything but 0 blocks."""
        if blocks != 0:
            raise SettingError(f"{self.name} is an ONNX graph, which cannot be fitted; leave out --open-blocks.")

    def save(self, file: Path) -> None:
        """Write the graph whole or not at all. Raises DataError where there is no room."""
        with replacing(file) as draft:
            draft.write_bytes(self.graph)


def load_extractor(file: Path) -> OnnxExtractor:
    """Read what `save` wrote. Raises CheckpointError for a missing or damaged file."""
    try:
        return OnnxExtractor(file.read_bytes())
    except Exception as error:  # the file system's, protobuf's, or a graph that is another
        raise CheckpointError(f"The graph {file} cannot be read; train again.") from error
