"""A bundle as a user makes it of his own pictures: EfficientNet-Lite0 at 224 pixels, fitted and calibrated.

The pictures are made, and few: how fast a bundle serves does not depend on what it has learnt. It needs the training
extra, and takes a minute.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.server_process import ROOT

SIDE_PIXELS = 224
_HUES = {"blue": 170, "green": 85, "red": 0, "violet": 212, "yellow": 42}
_PICTURES_A_CLASS = 80
_OPTIONS = ["--size", str(SIDE_PIXELS), "--epochs", "1", "--views", "1", "--outliers", "none", "--calibration", "0.3"]


def own_bundle(folder: Path) -> Path:
    """Return the bundle in *folder*, which is made where it is not there yet."""
    bundle = folder / "run" / "bundle"
    if not (bundle / "calibration.json").exists():
        _write_pictures(folder / "pictures")
        command = ["-m", "training", "train", "--data", str(folder / "pictures"), "--out", str(folder / "run")]
        subprocess.run([sys.executable, *command, *_OPTIONS], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return bundle


def _write_pictures(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name, hue in _HUES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(_PICTURES_A_CLASS):
            _picture(random, hue).save(folder / name / f"{index:02}.jpg")


def _picture(random: np.random.Generator, hue: int) -> Image.Image:
    """Return patches of about one hue."""
    patches = random.integers(0, 256, (6, 8, 3), np.uint8)  # hue, saturation, value
    patches[..., 0] = (hue + random.integers(-15, 15, (6, 8))) % 256
    patches[..., 1] |= 128
    return Image.fromarray(patches, "HSV").convert("RGB").resize((320, 240), Image.Resampling.BICUBIC)
