"""Accuracy class by class, recomputed by hand."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.bundling.accuracy import Confusion, accuracy
from training.bundling.own_pictures import OwnPictures, Sample
from training.bundling.suspects import suspects
from training.data.paths import Paths
from training.data.sets import DataSet
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network

CLASSES = ("a", "b", "c")


def network() -> Network:
    """Features of three numbers, each the logit of its class; *others* logits are zero."""
    made = Network(backbone("R11-tiny"), Grouping(("all",), ((0, 1, 2),)))
    made.group.linear = torch.nn.Linear(3, 4)
    with torch.no_grad():
        made.group.linear.weight.copy_(torch.cat([torch.zeros(1, 3), torch.eye(3)]))
        made.group.linear.bias.zero_()
    return made


def sample(labels: list[int], taken_for: list[int]) -> Sample:
    """Pictures of some classes, and features that make the network take them for others."""
    features: NDArray[np.float32] = 5 * np.eye(3, dtype=np.float32)[taken_for].reshape(-1, 3)
    paths = Paths.of(f"{place}.png" for place in range(len(labels)))
    return Sample(DataSet(Path("nowhere"), CLASSES, paths, np.array(labels, np.int64)), features)


def test_shares_and_confusions_are_those_of_both_held_out_parts() -> None:
    """Fitted pictures do not count; the most frequent confusion comes first."""
    own = OwnPictures(
        fitted=sample([2, 2], [0, 0]),
        calibration=sample([0, 0, 0, 1], [0, 1, 1, 1]),
        validation=sample([1], [0]),
    )
    found = accuracy(network(), own, CLASSES)
    assert found is not None
    assert found.pictures == 5
    assert found.top1 == 2 / 5
    assert found.per_class == {"a": 1 / 3, "b": 1 / 2}
    assert found.confused == (Confusion("a", "b", 2), Confusion("b", "a", 1))
    assert "most confused: a as b 2 times, b as a 1 times" in found.sentences()


def test_without_held_out_pictures_nothing_is_said() -> None:
    """Accuracy on what was fitted would say nothing."""
    assert accuracy(network(), OwnPictures(sample([0], [0]), sample([], []), sample([], [])), CLASSES) is None


def test_suspects_are_the_foreign_pictures_surest_of_a_class() -> None:
    """The surest first, with the class they are taken for."""
    features = np.array([[1, 0, 0], [0, 9, 0], [0, 0, 4]], np.float32)
    found = suspects(network(), features, ["one.png", "two.png", "three.png"], CLASSES)
    assert [(suspect.path, suspect.label) for suspect in found] == [
        ("two.png", "b"),
        ("three.png", "c"),
        ("one.png", "a"),
    ]
    assert found[0].probability > 0.99
