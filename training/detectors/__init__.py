"""Detectors: a model's outputs -> one score a picture, higher = in-distribution. One file a detector.

Each file has `score(outputs, statistics)`; a detector that learns something from in-distribution pictures also has
`fit(data)`, which returns those statistics. Only numpy and scipy here: detectors run without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.detectors import (
    energy,
    gen,
    gradnorm,
    kl_matching,
    knn,
    mahalanobis,
    maxlogit,
    mos,
    mos_residual,
    msp,
    odin,
    react,
    vim,
)
from training.detectors.outputs import FitData, Head, Outputs, Pass, Statistics


@dataclass(frozen=True)
class Detector:
    """One row of `DETECTORS`."""

    score: Callable[[Outputs, Statistics], NDArray[np.float64]]  # -> (N,)
    fit: Callable[[FitData], Statistics] | None = None


DETECTORS: dict[str, Detector] = {
    "mos": Detector(mos.score),
    "msp": Detector(msp.score),
    "odin": Detector(odin.score),
    "mahalanobis": Detector(mahalanobis.score, mahalanobis.fit),
    "energy": Detector(energy.score),
    "kl_matching": Detector(kl_matching.score, kl_matching.fit),
    "maxlogit": Detector(maxlogit.score),
    "gen": Detector(gen.score),
    "gradnorm": Detector(gradnorm.score),
    "react": Detector(react.score, react.fit),
    "knn": Detector(knn.score, knn.fit),
    "vim": Detector(vim.score, vim.fit),
    "mos_residual": Detector(mos_residual.score, mos_residual.fit),
}

__all__ = ["DETECTORS", "Detector", "FitData", "Head", "Outputs", "Pass", "Statistics"]
