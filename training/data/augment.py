"""Training's augmentation: the only place where training's pixels differ from those that are served.

What is drawn by chance is drawn apart from where it is applied: a process draws for the whole of a batch and applies
its share, so that the pictures are the same however many processes share them.

Legend: N pictures of a batch, n of a share, H and W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

GREY = 127  # zero after normalisation

Draws = dict[str, Tensor]
"""What was drawn for each picture of a batch: {name: (N, ...)}."""


@dataclass(frozen=True)
class Augmentation:
    """One way to vary pictures of `side` pixels."""

    draw: Callable[[int, int, Generator], Draws]  # N, side, generator
    apply: Callable[[Tensor, Draws], Tensor]  # uint8 (n, side, side, 3) -> the same shape


def share_of(draws: Draws, places: Tensor) -> Draws:
    """The draws for the pictures at `places` (n,) of a batch."""
    return {name: drawn[places] for name, drawn in draws.items()}


def draw_crop(count: int, loaded_side: int, side: int, generator: Generator) -> Draws:
    """Where a square of `side` pixels lies in each picture of `loaded_side`; nothing is drawn where they are equal."""
    if loaded_side == side:
        return {}
    reach = loaded_side - side + 1
    return {name: torch.randint(0, reach, (count,), generator=generator) for name in ("top", "left")}


def crop(images: Tensor, side: int, draws: Draws) -> Tensor:
    """uint8 (n, H, W, 3) -> (n, side, side, 3)."""
    if "top" not in draws:
        return images
    return _gathered(images, *(draws[name][:, None] + torch.arange(side) for name in ("top", "left")))


def _draw_flip(count: int, side: int, generator: Generator) -> Draws:
    return {"flip": torch.rand(count, generator=generator) < 0.5}


def _flip(images: Tensor, draws: Draws) -> Tensor:
    """Half of the pictures mirrored."""
    images, mirrored = images.clone(), draws["flip"]
    images[mirrored] = images[mirrored].flip(2)
    return images


def _draw_standard(count: int, side: int, generator: Generator) -> Draws:
    reach = side // 8
    draws = {name: torch.randint(-reach, reach + 1, (count,), generator=generator) for name in ("down", "right")}
    draws |= _draw_flip(count, side, generator)
    return draws | {name: torch.randint(0, side, (count,), generator=generator) for name in ("hole_row", "hole_column")}


def _standard(images: Tensor, draws: Draws) -> Tensor:
    """Shifted crop (reflected borders), horizontal flip and a cut-out square.

    The shift is up to an eighth of the side and the cut-out a quarter of it: 4 and 8 pixels at 32.
    """
    _, height, width, _ = images.shape
    rows, columns = _shifted(height, draws["down"]), _shifted(width, draws["right"])
    flip = draws["flip"]
    columns[flip] = columns[flip].flip(1)
    images = _gathered(images, rows, columns)
    hole = _span(height, draws["hole_row"])[:, :, None] & _span(width, draws["hole_column"])[:, None, :]
    images[hole] = GREY
    return images


def _draw_strong(count: int, side: int, generator: Generator) -> Draws:
    draws = {
        "angle": _within(count, 25 * math.pi / 180, generator),
        "shear": _within(count, 0.25, generator),
        "zoom": _within(count, 0.25, generator).exp(),
        "unwarped": torch.rand(count, generator=generator) < 0.5,
        "uncoloured": torch.rand(count, generator=generator) < 0.5,
        "colour": _within(count * 3, math.log(1.5), generator).exp().view(3, count).T,  # (N, 3)
    }
    return draws | _draw_standard(count, side, generator)


def _strong(images: Tensor, draws: Draws) -> Tensor:
    """`standard`, and before it half of the pictures are warped and half recoloured.

    Every change keeps the label. It takes longer to fit and overfits less: for runs of many epochs.
    """
    pixels = _recoloured(_warped(images.permute(0, 3, 1, 2).float(), draws), draws)
    return _standard(pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1), draws)


AUGMENTATIONS = {
    "none": Augmentation(lambda count, side, generator: {}, lambda images, draws: images),
    "flip": Augmentation(_draw_flip, _flip),
    "standard": Augmentation(_draw_standard, _standard),
    "strong": Augmentation(_draw_strong, _strong),
}
"""What may follow the crop. The paper's fine-tuning mirrors at most; the last two are for small pictures."""


def _warped(pixels: Tensor, draws: Draws) -> Tensor:
    """Half of float (n, 3, H, W) rotated by up to 25 degrees, sheared by up to a quarter and scaled by up to 1.28."""
    cosine, sine, shear = draws["angle"].cos(), draws["angle"].sin(), draws["shear"]
    zero = torch.zeros_like(cosine)
    rows = [torch.stack([cosine, shear * cosine - sine, zero], 1), torch.stack([sine, shear * sine + cosine, zero], 1)]
    warp = torch.stack(rows, 1) * draws["zoom"][:, None, None]  # (n, 2, 3)
    warp[draws["unwarped"]] = torch.eye(2, 3)
    grid = F.affine_grid(warp, list(pixels.shape), align_corners=False)
    warped: Tensor = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return warped


def _recoloured(pixels: Tensor, draws: Draws) -> Tensor:
    """Brightness, contrast and saturation of half of float (n, 3, H, W) in [0, 255] changed by up to 1.5 times."""
    factors = draws["colour"].masked_fill(draws["uncoloured"][:, None], 1.0)
    brightness, contrast, saturation = factors.T[:, :, None, None, None]
    pixels = pixels * brightness
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + contrast * (pixels - mean)
    grey = pixels.mean(dim=1, keepdim=True)
    recoloured: Tensor = grey + saturation * (pixels - grey)
    return recoloured


def _within(count: int, reach: float, generator: Generator) -> Tensor:
    """Uniform in [-reach, reach], (N,)."""
    return (torch.rand(count, generator=generator) * 2 - 1) * reach


def _gathered(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at `rows` (n, h) and `columns` (n, w) of each picture, (n, h, w, 3)."""
    return images[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _shifted(side: int, shift: Tensor) -> Tensor:
    """Source coordinates (n, side), shifted and reflected at the borders."""
    coordinates = (torch.arange(side) + shift[:, None]).abs()
    return (side - 1) - ((side - 1) - coordinates).abs()


def _span(side: int, centre: Tensor) -> Tensor:
    """True (n, side) over a quarter of the side around the centre."""
    offset = torch.arange(side) - centre[:, None]
    reach = side // 8
    return (offset >= -reach) & (offset < reach)
