"""Arrays as a model with a trained flat head would give them: no picture, no network, all shapes small."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.detectors import FitData, Head, Outputs

CLASSES, GROUPS, FEATURES = 7, 3, 24


@pytest.fixture(scope="session")
def head() -> Head:
    """A flat head with a bias, so that ViM's origin is not zero."""
    random = np.random.default_rng(1)
    weight = random.normal(0, 0.5, (CLASSES, FEATURES)).astype(np.float32)
    return Head(weight, random.normal(0, 0.3, CLASSES).astype(np.float32))


@pytest.fixture(scope="session")
def data(head: Head) -> FitData:
    """300 training and 140 held-out pictures in clusters by class."""
    train, train_labels = pictures(head, 300, seed=2)
    held_out, held_out_labels = pictures(head, 140, seed=3)
    return FitData(train, train_labels, held_out, held_out_labels)


@pytest.fixture(scope="session")
def seen(head: Head) -> Outputs:
    """Fifty pictures to score, with a stand-in for ODIN's second pass."""
    return pictures(head, 50, seed=4)[0]


def pictures(head: Head, count: int, *, seed: int) -> tuple[Outputs, NDArray[np.int64]]:
    """Outputs and labels of `count` pictures; features are not negative, as after a ReLU."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).gamma(2, 0.5, (CLASSES, FEATURES))
    labels = np.arange(count) % CLASSES
    mixing = np.random.default_rng(5).normal(0, 0.25, (FEATURES, FEATURES))
    noise = random.normal(0, 1, (count, FEATURES)) @ mixing
    features = np.maximum(centres[labels] + noise, 0).astype(np.float32)
    logits = head.logits(features)
    others = random.uniform(0.001, 0.999, (count, GROUPS)).astype(np.float32)
    perturbed = logits + random.normal(0, 0.1, logits.shape).astype(np.float32)
    return Outputs(features, others, logits, head, perturbed), labels
