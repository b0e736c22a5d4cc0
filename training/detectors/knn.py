"""Deep nearest neighbours (Sun et al., 2022): the distance to the k-th nearest training feature, on the unit sphere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.detectors.outputs import FitData, Outputs, Statistics

BANK_SIZE = 1_000
"""Training pictures that are kept, so that a bundle stays small."""
SHARE = 0.004
"""k as a share of the bank: the paper's 200 neighbours among CIFAR-100's 50,000 training pictures."""
SEED = 0


def fit(data: FitData) -> Statistics:
    """`bank` (M, D): the features of M training pictures drawn by chance, each row scaled to 0..255.

    Features come out of a ReLU and are not negative. Rows are normalised again when they are used, so one byte a
    number is enough and no scale is kept.
    """
    features = data.train.features
    count = min(BANK_SIZE, len(features))
    chosen = np.sort(np.random.default_rng(SEED).choice(len(features), count, replace=False))
    rows = features[chosen].astype(np.float64)
    largest = np.maximum(rows.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return {"bank": np.rint(255 * rows / largest).astype(np.uint8)}


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """-distance to the k-th nearest of the bank, (N,)."""
    bank = _unit(statistics["bank"])
    k = max(1, round(SHARE * len(bank)))
    cosines = _unit(outputs.features) @ bank.T
    kth = np.partition(cosines, -k, axis=1)[:, -k]
    distance: NDArray[np.float64] = np.sqrt(np.maximum(2 - 2 * kth, 0))
    return -distance


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
