"""What a split cannot promise."""

import numpy as np
import pytest

from training.data.doubts import closeness, doubts
from training.data.paths import Paths
from training.data.series import Likeness
from training.data.sets import DataSet
from training.data.splits import Split, split_by_part


@pytest.fixture
def parts(tmp_path) -> Split:
    """Two classes of four pictures; of the first two are held out, and the second is one series."""
    whole = DataSet(tmp_path, ("a", "b"), Paths.of("abcdefgh"), np.repeat([0, 1], 4))
    return split_by_part(whole, np.array([1, 1, 0, 0, 0, 0, 0, 0], np.uint8), np.array([0, 1, 2, 3, 4, 4, 4, 4]))


def test_closeness_is_the_share_with_a_near_copy_of_their_class(parts: Split) -> None:
    """The first held-out picture is like a fitted one; the second only like one of the other class."""
    angles = np.radians([0, 90, 5, 180, 90, 90, 90, 90])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert closeness(parts, Likeness(values, np.zeros(2, np.float32), near=0.9)) == 0.5


def test_nothing_is_said_of_a_split_that_keeps_its_promise(parts: Split) -> None:
    """Enough pictures, not too like the fitted ones, of every class."""
    good = Split(parts.whole, parts.calibration_rows, parts.validation_rows, parts.fitted_rows)
    assert doubts(good, 0.2, needed=2) == []


def test_each_doubt_is_one_sentence_that_says_what_helps(parts: Split) -> None:
    """Classes of one series, pictures too like the fitted ones, and too few of them."""
    alone, like, few = doubts(parts, 0.8, needed=59)
    assert "All pictures of 1 of 2 classes are of one series" in alone
    assert "80%" in like
    assert "--group-by" in like
    assert "Only 2 pictures" in few
    assert "fewer than 59" in few


def test_a_split_that_holds_nothing_out_is_told_of_where_a_threshold_is_wanted(parts: Split) -> None:
    """Every class is of one series: the reason is said, and not only that nothing could be calibrated."""
    one_each = split_by_part(parts.whole, np.zeros(8, np.uint8), np.repeat([0, 1], 4))
    (alone,) = doubts(one_each, 0.0, needed=59)
    assert "All pictures of 2 of 2 classes are of one series" in alone
    assert doubts(one_each, 0.0, needed=0) == []
