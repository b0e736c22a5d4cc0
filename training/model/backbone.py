"""What every feature extractor says of itself, so that heads, extraction and export need not know which one it is.

`bit.py` and `efficientnet_lite.py` hold the networks, `backbones.py` builds one by its name.

Legend: N batch, H and W height and width, D = `Backbone.feature_size`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """(N, 3, H, W) normalised pictures -> (N, D) features: a root, blocks, and what follows the last block.

    Parameter names (`root.`, `block1.`, ...) are stable: checkpoints and exported models refer to them.
    """

    name: str  # as people write it
    feature_size: int  # D
    root: nn.Module  # what comes before the first block
    block_count: int
    centre: float  # of the pixel values; what normalisation takes to 0
    spread: float  # of the pixel values; what normalisation takes to 1
    sides: tuple[int, ...] = ()  # input sides in pixels that suit it, ascending; empty where any side does
    sides_divide_by: int = 1  # pixels

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in the range that the weights were trained for."""
        return ((images.float() - self.centre) / self.spread).permute(0, 3, 1, 2)

    def blocks(self) -> Iterator[nn.Module]:
        """The blocks in order of depth."""
        return (self.get_submodule(f"block{index + 1}") for index in range(self.block_count))

    @abstractmethod
    def tail(self) -> nn.Module:
        """What follows the last block and is fitted with it."""

    def open(self, blocks: int | None) -> None:
        """Let the last `blocks` blocks be fitted and the tail with them; None opens everything (paper §4.3.5)."""
        self.requires_grad_(blocks is None)
        if blocks:
            self.tail().requires_grad_(True)
            for block in list(self.blocks())[-blocks:]:
                block.requires_grad_(True)
