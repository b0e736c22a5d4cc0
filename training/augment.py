"""Training's augmentation: the only place where training's pixels differ from those that are served."""

from __future__ import annotations

import torch
from torch import Tensor

GREY = 127  # zero after normalisation


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted crop (reflected borders), horizontal flip and a cut-out square, drawn for each of uint8 (N, H, W, 3).

    The shift is up to an eighth of the side and the cut-out a quarter of it: 4 and 8 pixels at 32.
    """
    count, height, width, _ = images.shape
    rows = _shifted(count, height, generator)
    columns = _shifted(count, width, generator)
    flip = torch.rand(count, generator=generator) < 0.5
    columns[flip] = columns[flip].flip(1)
    images = images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    hole = _span(count, height, generator)[:, :, None] & _span(count, width, generator)[:, None, :]
    images[hole] = GREY
    return images


def _shifted(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Source coordinates (N, side), shifted by chance and reflected at the borders."""
    reach = side // 8
    shift = torch.randint(-reach, reach + 1, (count, 1), generator=generator)
    coordinates = (torch.arange(side) + shift).abs()
    return (side - 1) - ((side - 1) - coordinates).abs()


def _span(count: int, side: int, generator: torch.Generator) -> Tensor:
    """True (N, side) over a quarter of the side, centred anywhere inside it."""
    centre = torch.randint(0, side, (count, 1), generator=generator)
    offset = torch.arange(side) - centre
    reach = side // 8
    return (offset >= -reach) & (offset < reach)
