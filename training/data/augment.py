"""Training's augmentation: the only place where training's pixels differ from those that are served."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

GREY = 127  # zero after normalisation


def standard(images: Tensor, generator: torch.Generator) -> Tensor:
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


def strong(images: Tensor, generator: torch.Generator) -> Tensor:
    """`standard`, and before it half of the pictures are warped and half recoloured; uint8 (N, H, W, 3).

    Every change keeps the label. It takes longer to fit and overfits less: for runs of many epochs.
    """
    pixels = images.permute(0, 3, 1, 2).float()
    pixels = _recoloured(_warped(pixels, generator), generator)
    return standard(pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1), generator)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of uint8 (N, H, W, 3) mirrored."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(2), images)


def crop(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A square of `side` pixels drawn anywhere in each picture: uint8 (N, H, W, 3) -> (N, side, side, 3)."""
    count, height, width, _ = images.shape
    if height == width == side:
        return images
    rows = _window(count, height, side, generator)
    columns = _window(count, width, side, generator)
    return images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": lambda images, _: images,
    "flip": flip,
    "standard": standard,
    "strong": strong,
}
"""What may follow the crop. The paper's fine-tuning mirrors at most; the last two are for small pictures."""


def _warped(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Half of float (N, 3, H, W) rotated by up to 25 degrees, sheared by up to a quarter and scaled by up to 1.28."""
    count = len(pixels)
    angle = _within(count, 25 * math.pi / 180, generator)
    shear = _within(count, 0.25, generator)
    scale = _within(count, 0.25, generator).exp()
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros(count)
    rows = [torch.stack([cosine, shear * cosine - sine, zero], 1), torch.stack([sine, shear * sine + cosine, zero], 1)]
    warp = torch.stack(rows, 1) * scale[:, None, None]  # (N, 2, 3)
    left_alone = torch.rand(count, generator=generator) < 0.5
    warp[left_alone] = torch.eye(2, 3)
    grid = F.affine_grid(warp, list(pixels.shape), align_corners=False)
    warped: Tensor = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return warped


def _recoloured(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of half of float (N, 3, H, W) in [0, 255] changed by up to 1.5 times."""
    count = len(pixels)
    left_alone = torch.rand(count, generator=generator) < 0.5
    factors = _within(count * 3, math.log(1.5), generator).exp().view(3, count, 1, 1, 1)
    brightness, contrast, saturation = factors.masked_fill(left_alone.view(1, count, 1, 1, 1), 1.0)
    pixels = pixels * brightness
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + contrast * (pixels - mean)
    grey = pixels.mean(dim=1, keepdim=True)
    recoloured: Tensor = grey + saturation * (pixels - grey)
    return recoloured


def _within(count: int, reach: float, generator: torch.Generator) -> Tensor:
    """Uniform in [-reach, reach], (count,)."""
    return (torch.rand(count, generator=generator) * 2 - 1) * reach


def _window(count: int, length: int, side: int, generator: torch.Generator) -> Tensor:
    """Coordinates (N, side) of a stretch drawn anywhere inside the length."""
    return torch.arange(side) + torch.randint(0, length - side + 1, (count, 1), generator=generator)


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
