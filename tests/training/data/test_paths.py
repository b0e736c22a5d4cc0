"""Packed paths read like a tuple of strings."""

import pickle

import numpy as np
import pytest

from training.data.paths import Paths

NAMES = ["a/b.png", "", "ümläut/日本.jpg", "not \udcff utf-8.png", "c d.webp"]


def test_paths_come_back_as_they_went_in() -> None:
    """One by one, by index from either end, as a slice and as a selection; names that are no UTF-8 too."""
    paths = Paths.of(iter(NAMES))
    assert len(paths) == 5
    assert list(paths) == NAMES
    assert [paths[index] for index in (0, 4, -1, -5)] == [NAMES[0], NAMES[4], NAMES[4], NAMES[0]]
    assert paths[1:4] == NAMES[1:4]
    assert list(paths.select(np.array([4, 0, 0]))) == [NAMES[4], NAMES[0], NAMES[0]]


def test_an_index_outside_is_an_error() -> None:
    """As for any sequence."""
    with pytest.raises(IndexError):
        Paths.of(NAMES)[5]


def test_a_worker_gets_little_more_than_the_letters() -> None:
    """A hundred thousand names travel as their bytes and eight more each."""
    names = [f"n{index % 1000:08d}/n{index % 1000:08d}_{index}.JPEG" for index in range(100_000)]
    sent = pickle.dumps(Paths.of(names))
    assert len(sent) < sum(map(len, names)) + 8 * len(names) + 1000
    assert list(pickle.loads(sent)[-2:]) == names[-2:]
