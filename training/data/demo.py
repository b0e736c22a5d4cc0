"""A generated data set: coloured shapes, enough to take the whole pipeline through in a minute without a download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 48
COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 70, 200)}

Mask = NDArray[np.bool_]
Shape = Callable[[NDArray[np.float64], NDArray[np.float64], float], Mask]

SHAPES: dict[str, Shape] = {
    "disc": lambda x, y, size: x**2 + y**2 < size**2,
    "square": lambda x, y, size: np.maximum(abs(x), abs(y)) < 0.85 * size,
    "cross": lambda x, y, size: (np.minimum(abs(x), abs(y)) < 0.3 * size) & (np.maximum(abs(x), abs(y)) < size),
}


def write_demo_data(folder: Path, *, per_class: int, seed: int) -> dict[str, Path]:
    """Write `train` and `test` (super-class folders by shape, class folders by colour) and the OOD set `stripes`.

    Returns the folder of each. Pictures already there are written again with the same content.
    """
    generator = np.random.default_rng(seed)
    for part in ("train", "test"):
        for shape, colour in ((shape, colour) for shape in SHAPES for colour in COLOURS):
            home = folder / part / shape / f"{colour} {shape}"
            home.mkdir(parents=True, exist_ok=True)
            for index in range(per_class):
                _save(_shape(SHAPES[shape], COLOURS[colour], generator), home / f"{index:04d}.png")
    stripes = folder / "stripes"
    stripes.mkdir(parents=True, exist_ok=True)
    for index in range(2 * per_class):
        _save(_stripes(generator), stripes / f"{index:04d}.png")
    return {"train": folder / "train", "test": folder / "test", "stripes": stripes}


def _shape(mask: Shape, colour: tuple[int, int, int], generator: np.random.Generator) -> NDArray[np.float64]:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    x, y = generator.uniform(0.35, 0.65, 2) * SIDE
    inside = mask(columns - x, rows - y, generator.uniform(0.18, 0.3) * SIDE)
    background = np.full((SIDE, SIDE, 3), generator.uniform(150, 250))
    background[inside] = np.array(colour) + generator.normal(0, 12, 3)
    return background + generator.normal(0, 6, background.shape)


def _stripes(generator: np.random.Generator) -> NDArray[np.float64]:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    angle, period = generator.uniform(0, np.pi), generator.uniform(3, 9)
    wave = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / period)
    noise = generator.normal(0, 6, (SIDE, SIDE, 3))
    striped: NDArray[np.float64] = 127 + 100 * wave[:, :, None] * generator.uniform(-1, 1, 3) + noise
    return striped


def _save(pixels: NDArray[np.float64], file: Path) -> None:
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
