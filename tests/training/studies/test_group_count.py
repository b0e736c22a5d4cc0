"""The number of groups that is recommended where there is no taxonomy."""

import numpy as np
import pytest
import torch

from training.errors import GroupingError
from training.studies import group_count as module
from training.studies.group_count import Row, choose, class_means, recommend

pytestmark = pytest.mark.numeric

CLASSES, PICTURES, FEATURES = 20, 20, 24


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not depend on how well the heads are fitted."""
    monkeypatch.setattr(module, "STEPS", 20)


def clustered_features(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of twenty classes in four clouds, and their labels."""
    generator = np.random.default_rng(seed)
    clouds = np.repeat(np.eye(4, FEATURES) * 8, CLASSES // 4, axis=0)
    centres = clouds + generator.normal(0, 1.0, (CLASSES, FEATURES))
    labels = np.repeat(np.arange(CLASSES), PICTURES)
    return (centres[labels] + generator.normal(0, 0.5, (len(labels), FEATURES))).astype(np.float32), labels


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([Row(2, 0.70, 0.0), Row(5, 0.80, 0.0)], 5),
        ([Row(2, 0.79, 0.001), Row(5, 0.80, 0.0173), Row(8, 0.795, 0.1)], 5),
        ([Row(2, 0.79, 0.001), Row(5, 0.80, 0.0174), Row(8, 0.795, 0.1)], 2),
    ],
)
def test_the_smallest_number_within_a_standard_error_of_the_best_is_chosen(rows: list[Row], chosen: int) -> None:
    """The error is that of the best row: its spread over the square root of three splits."""
    assert choose(rows) == chosen


@pytest.mark.usefixtures("few_steps")
def test_every_number_that_the_classes_can_fill_is_compared() -> None:
    """Sixteen classes are kept, so that twenty groups are left out; the number chosen is one of the rows."""
    features, labels = clustered_features()
    found = recommend(features, labels, candidates=(20, 4, 2, 16, 17), seed=0)
    assert [row.group_count for row in found.rows] == [2, 4, 16]
    assert found.group_count == choose(found.rows)


def test_classes_that_are_held_out_are_told_from_the_rest() -> None:
    """Classes that lie apart are no guess: the AUROC is far above one half, and the splits differ."""
    features, labels = clustered_features()
    (row,) = recommend(features, labels, candidates=(4,), seed=0).rows
    assert row.auroc > 0.7
    assert row.spread > 0


def test_features_that_say_nothing_are_a_guess() -> None:
    """Without any signal the AUROC stays near one half: no picture that is scored was fitted."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 60)
    noise = generator.normal(size=(600, FEATURES)).astype(np.float32)
    (row,) = recommend(noise, labels, candidates=(3,), seed=0).rows
    assert 0.4 < row.auroc < 0.6


@pytest.mark.usefixtures("few_steps")
def test_the_same_seed_gives_the_same_rows() -> None:
    """Splits, clusters and batches are functions of the seed, whatever else has drawn from torch's generator."""
    features, labels = clustered_features()
    first = recommend(features, labels, candidates=(2, 5), seed=3)
    torch.rand(1)
    assert recommend(features, labels, candidates=(2, 5), seed=3) == first
    assert recommend(features, labels, candidates=(2, 5), seed=4) != first


@pytest.mark.parametrize(("classes", "pictures", "message"), [(2, 5, "2 classes are too few"), (6, 1, "two pictures")])
def test_too_little_data_is_refused(classes: int, pictures: int, message: str) -> None:
    """Two classes leave one to group, and one picture leaves none to score."""
    labels = np.repeat(np.arange(classes), pictures)
    features = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)
    with pytest.raises(GroupingError, match=message):
        recommend(features, labels, seed=0)


def test_class_means_are_the_means_of_each_class() -> None:
    """(C, D), by label."""
    means = class_means(np.array([[1.0, 3.0], [5.0, 1.0], [3.0, 5.0]], np.float32), np.array([1, 0, 1]), 2)
    assert means.tolist() == [[5.0, 1.0], [2.0, 4.0]]
