"""Foreign pictures that the finished model would take in with the highest probability: likely mislabelled, so look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.model.network import Network

SHOWN = 10


@dataclass(frozen=True)
class Suspect:
    """A foreign picture, the class it is taken for and with what probability."""

    path: str
    label: str
    probability: float


def suspects(
    network: Network, features: NDArray[np.float32], paths: Sequence[str], classes: Sequence[str]
) -> list[Suspect]:
    """The foreign pictures (M, D) that look most like a class, the surest first."""
    with torch.no_grad():
        probabilities, _ = network.group.probabilities(network.group(torch.from_numpy(features)))
    highest, label = probabilities.max(dim=1)
    order = highest.argsort(descending=True)[:SHOWN].tolist()
    return [Suspect(paths[row], classes[int(label[row])], float(highest[row])) for row in order]


def sentences(found: Sequence[Suspect]) -> list[str]:
    """A table for a person to read."""
    head = "foreign pictures that look most like a class; look whether they are foreign:"
    return [head, *(f"  {suspect.probability:.3f} {suspect.label}  {suspect.path}" for suspect in found)]
