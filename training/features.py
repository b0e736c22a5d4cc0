"""Features of a frozen backbone, extracted in batches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.backbone import Backbone
from training.network import normalise
from training.progress import track

BATCH_SIZE = 256


def extract(backbone: Backbone, pixels: NDArray[np.uint8], *, bf16: bool = False) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, D)."""
    features = torch.empty(len(pixels), backbone.feature_size)
    starts = range(0, len(pixels), BATCH_SIZE)
    for start in track(starts, len(starts), "extracting features"):
        batch = torch.from_numpy(np.ascontiguousarray(pixels[start : start + BATCH_SIZE]))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            features[start : start + BATCH_SIZE] = backbone(normalise(batch)).float()
    return features
