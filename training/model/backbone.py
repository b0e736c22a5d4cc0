"""What every feature extractor says of itself, so that heads, extraction and export need not know which one it is.

A `FeatureExtractor` turns pictures into features, and is a graph that can be served. A `Backbone` is one that torch
computes, whose blocks can be fitted too: `bit.py` and `efficientnet_lite.py` hold those, `backbones.py` builds one by
its name. `onnx_extractor.py` is one that anyone made, with anything, and that stays as it is.

Legend: N batch, H and W height and width, D = `FeatureExtractor.feature_size`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from training.errors import SettingError
from training.model.onnx_graph import fold, to_onnx


class FeatureExtractor(ABC):
    """uint8 (N, H, W, 3) pictures -> (N, D) features."""

    name: str  # as people write it
    feature_size: int  # D

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Of uint8 pictures, or of mixtures of such in float32, (N, H, W, 3): (N, D)."""

    @abstractmethod
    def to_onnx(self, side: int) -> bytes:
        """What is served: `images`, uint8 (N, side, side, 3) -> `features`, float32 (N, D), as one ONNX file."""

    @abstractmethod
    def sha256(self) -> str:
        """A hash of everything that the features depend on beside the pictures."""

    @abstractmethod
    def open(self, blocks: int | None) -> None:
        """Let the last `blocks` blocks be fitted; None opens everything (paper §4.3.5).

        Raises SettingError for more than there are.
        """


class Backbone(nn.Module, FeatureExtractor):
    """(N, 3, H, W) normalised pictures -> (N, D) features: a root, blocks, and what follows the last block.

    Parameter names (`root.`, `block1.`, ...) are stable: checkpoints and exported models refer to them.
    """

    root: nn.Module  # what comes before the first block
    block_count: int
    centre: float  # of the pixel values; what normalisation takes to 0
    spread: float  # of the pixel values; what normalisation takes to 1
    sides: tuple[int, ...] = ()  # input sides in pixels that suit it, ascending; empty where any side does
    sides_divide_by: int = 1  # pixels

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in the range that the weights were trained for."""
        return ((images.float() - self.centre) / self.spread).permute(0, 3, 1, 2)

    def features(self, images: Tensor) -> Tensor:  # noqa: D102
        features: Tensor = self(self.normalise(images))
        return features

    def to_onnx(self, side: int) -> bytes:  # noqa: D102
        example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
        return to_onnx(fold(FeaturesOnly(self)), {"images": example}, ["features"])

    def sha256(self) -> str:  # noqa: D102
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(name.encode())
            # 0 is added because the average of a run's weights turns -0.0 into 0.0, which is the same weight.
            digest.update((value.cpu().contiguous() + 0).numpy().tobytes())
        return digest.hexdigest()

    def blocks(self) -> Iterator[nn.Module]:
        """The blocks in order of depth."""
        return (self.get_submodule(f"block{index + 1}") for index in range(self.block_count))

    @abstractmethod
    def tail(self) -> nn.Module:
        """What follows the last block and is fitted with it."""

    def open(self, blocks: int | None) -> None:
        """Let the last `blocks` blocks be fitted and the tail with them; None opens everything (paper §4.3.5)."""
        if blocks is not None and blocks > self.block_count:
            raise SettingError(f"{self.name} has {self.block_count} blocks; open 0 to {self.block_count}, or all.")
        self.requires_grad_(blocks is None)
        if blocks:
            self.tail().requires_grad_(True)
            for block in list(self.blocks())[-blocks:]:
                block.requires_grad_(True)


class FeaturesOnly(nn.Module):
    """A backbone from pixels, under the name that its parameters have in exported models."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return self.backbone.features(images)
