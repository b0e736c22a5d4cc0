"""What detectors read. N pictures, C classes, K groups, D features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.reproduction import Source

Statistics = Mapping[str, NDArray[Any]]
"""What a detector's `fit` found, by name."""
Pass = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""Pictures (N, H, W, 3) -> an array of N rows that the served model does not give."""


@dataclass(frozen=True)
class Head:
    """The flat-softmax head: flat logits = features @ weight.T + bias."""

    weight: NDArray[np.float32]  # (C, D)
    bias: NDArray[np.float32]  # (C,)

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, D) -> (N, C)."""
        logits: NDArray[np.float32] = (features @ self.weight.T + self.bias).astype(np.float32)
        return logits


@dataclass(frozen=True)
class Outputs:
    """What a model says of N pictures."""

    features: NDArray[np.float32]  # (N, D)
    others_scores: NDArray[np.float32]  # (N, K)
    flat_logits: NDArray[np.float32]  # (N, C) of `head` on the same features
    head: Head
    perturbed_logits: NDArray[np.float32] | None = None  # (N, C), ODIN's second pass; None where torch is not there


@dataclass(frozen=True)
class FitData:
    """In-distribution pictures to fit statistics on: those that trained the model, and others that did not."""

    train: Outputs
    train_labels: NDArray[np.int64]
    held_out: Outputs
    held_out_labels: NDArray[np.int64]
    kl_templates: Source = "corrected"  # whose templates KL matching makes
