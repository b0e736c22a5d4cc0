"""Unseen siblings on planted features: strange ones are turned away, alike ones let in, of little data nothing said."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.bundling import card
from training.bundling import siblings as module
from training.bundling.siblings import Pictures, Siblings, siblings
from training.fitting.recipes import heads
from training.grouping.groups import Grouping

CLASSES, PER_CLASS, FEATURES = 8, 60, 12
GROUPING = Grouping(("even", "odd", "last"), ((0, 2, 4, 6), (1, 3, 5), (7,)))
LABELS = np.arange(CLASSES * PER_CLASS) % CLASSES
RECIPE = heads(len(LABELS), epochs=4, batch_size=64, seed=3)


def pictures(features: NDArray[np.float32], labels: NDArray[np.int64] = LABELS, calibration: int = 160) -> Pictures:
    """One view of each, split by chance: the last are for the threshold, and as many before them for choices."""
    rows = np.random.default_rng(0).permutation(len(features))
    fitted, validation, held_out = np.split(rows, [-2 * calibration, -calibration])
    return Pictures(features[None], labels, fitted, validation, held_out)


def cloud(centres: NDArray[np.floating]) -> NDArray[np.float32]:
    """Features about each class's centre."""
    noise = np.random.default_rng(1).normal(0, 0.05, (len(LABELS), FEATURES))
    return np.maximum(centres[LABELS] + noise, 0).astype(np.float32)


STRANGE = pictures(cloud(np.eye(CLASSES, FEATURES)))
ALIKE = pictures(cloud(np.ones((CLASSES, FEATURES))))


def found_in(given: Pictures, statistic: str = "cosine") -> Siblings:
    """The figures, which are there."""
    found = siblings(given, GROUPING, RECIPE, statistic)
    assert found is not None
    return found


def shares(found: Siblings) -> dict[float, float]:
    """What each TPR lets in."""
    return {share.tpr: share.share for share in found.let_in}


def test_classes_that_are_plainly_strange_are_turned_away() -> None:
    """Each class lies in a direction of its own, which a head that never saw it knows nothing of."""
    found = found_in(STRANGE)
    assert found.auroc > 0.99
    assert max(shares(found).values()) < 0.01


def test_classes_that_are_plainly_alike_are_let_in_as_known_ones_are() -> None:
    """All are of one cloud: as many get in as the threshold keeps, and the AUROC is that of chance."""
    found = found_in(ALIKE)
    assert found.auroc == pytest.approx(0.5, abs=0.1)
    assert shares(found)[0.95] > 0.9
    assert 0.7 < shares(found)[0.80] < 0.95
    for share in found.let_in:
        assert share.interval[0] <= share.share <= share.interval[1]


def test_every_picture_of_every_class_is_unseen_once() -> None:
    """The folds part the classes."""
    found = found_in(STRANGE)
    assert (found.classes, found.pictures, found.folds) == (CLASSES, len(LABELS), 4)


def test_a_tpr_that_the_threshold_cannot_promise_is_left_out() -> None:
    """160 calibration pictures are enough for 98 % and too few for 99 %."""
    assert list(shares(found_in(STRANGE))) == [0.98, 0.95, 0.90, 0.80]


def test_the_grouping_of_a_fold_has_the_classes_that_it_knows() -> None:
    """They are numbered anew in their order, and a group that loses all of its classes is gone."""
    place = np.array([0, -1, 1, 2, -1, 3, 4, -1])
    assert module._without(GROUPING, place) == Grouping(("even", "odd"), ((0, 1, 4), (2, 3)))


def test_folds_follow_from_the_seed() -> None:
    """The same seed gives the same figures, another leaves other classes out together."""
    features = cloud(np.random.default_rng(2).uniform(0, 0.3, (CLASSES, FEATURES)))
    one, again = found_in(pictures(features)), found_in(pictures(features))
    other = siblings(pictures(features), GROUPING, replace(RECIPE, seed=4), "cosine")
    assert one == again
    assert other is not None
    assert other.auroc != one.auroc


def test_three_classes_are_too_few() -> None:
    """Of which one cannot be left out four times in turn."""
    three = Grouping(("all",), ((0, 1, 2),))
    features = np.random.default_rng(0).random((len(LABELS), FEATURES), np.float32)
    assert siblings(pictures(features, LABELS % 3), three, RECIPE, "mos") is None


def test_thirteen_calibration_pictures_are_too_few() -> None:
    """The lowest TPR that is told needs fourteen."""
    features = cloud(np.eye(CLASSES, FEATURES))
    assert siblings(pictures(features, calibration=13), GROUPING, RECIPE, "mos") is None
    found = siblings(pictures(features, calibration=14), GROUPING, RECIPE, "mos")
    assert found is not None
    assert list(shares(found)) == [0.80]


def test_calibration_pictures_of_one_class_are_too_few() -> None:
    """As where every other class is of one series: the fold without that class would have no threshold."""
    features = cloud(np.eye(CLASSES, FEATURES))
    rows = np.arange(len(LABELS))
    of_one = Pictures(features[None], LABELS, rows[LABELS != 0], rows[:0], rows[LABELS == 0])
    assert len(of_one.calibration) >= 59
    assert siblings(of_one, GROUPING, RECIPE, "mos") is None


def test_the_card_reads_what_the_manifest_keeps() -> None:
    """Through JSON, with every share and interval."""
    found = found_in(ALIKE)
    read = card.Siblings.model_validate(json.loads(json.dumps(found.as_json())))
    assert (read.auroc, read.folds) == (found.auroc, found.folds)
    assert [(share.tpr, share.share, share.interval) for share in read.let_in] == [
        (share.tpr, share.share, share.interval) for share in found.let_in
    ]
