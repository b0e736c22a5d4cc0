"""How well a finished network tells the classes apart, on the pictures that its run held out: class by class."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.bundling.own_pictures import OwnPictures
from training.model.network import Network

NAMED = 5  # classes and pairs that are said
RECORDED_PAIRS = 20


@dataclass(frozen=True)
class Confusion:
    """How often held-out pictures of one class were taken for another."""

    true: str
    predicted: str
    pictures: int


@dataclass(frozen=True)
class Accuracy:
    """Top-1 of the group softmax as fractions; a class of which nothing was held out is left out."""

    pictures: int
    top1: float
    per_class: dict[str, float]
    confused: tuple[Confusion, ...]  # the most frequent first

    def as_json(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        return asdict(self) | {"confused": [asdict(pair) for pair in self.confused]}

    def sentences(self) -> list[str]:
        """What a person should read of it."""
        said = [f"held-out top-1: {self.top1:.3f} of {self.pictures} pictures"]
        weakest = sorted(self.per_class.items(), key=lambda item: item[1])[:NAMED]
        if weakest:
            said.append("weakest classes: " + ", ".join(f"{name} {share:.2f}" for name, share in weakest))
        if self.confused:
            pairs = (f"{pair.true} as {pair.predicted} {pair.pictures} times" for pair in self.confused[:NAMED])
            said.append("most confused: " + ", ".join(pairs))
        return said


def accuracy(network: Network, own: OwnPictures, classes: tuple[str, ...]) -> Accuracy | None:
    """On the pictures held out for the threshold and for choices; None where there are none."""
    held_out = (own.calibration, own.validation)
    labels = np.concatenate([sample.data.labels for sample in held_out])
    if not len(labels):
        return None
    predicted = np.concatenate([_predicted(network, sample.features) for sample in held_out])
    right = predicted == labels
    shares = {classes[label]: float(right[labels == label].mean()) for label in np.unique(labels).tolist()}
    return Accuracy(len(labels), float(right.mean()), shares, _confused(labels, predicted, classes))


def _predicted(network: Network, features: NDArray[np.float32]) -> NDArray[np.int64]:
    with torch.no_grad():
        probabilities, _ = network.group.probabilities(network.group(torch.from_numpy(features)))
    return probabilities.argmax(dim=1).numpy()


def _confused(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[Confusion, ...]:
    wrong = labels != predicted
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:RECORDED_PAIRS]
    return tuple(Confusion(classes[pairs[i, 0]], classes[pairs[i, 1]], int(counts[i])) for i in order)
