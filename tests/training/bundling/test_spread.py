"""The spread of acceptance over series."""

import numpy as np
import pytest

from training.bundling.spread import lines, spread


def test_shares_are_of_each_series_the_lowest_first() -> None:
    """And the overall share is of pictures, not of series."""
    accepted = np.array([True, True, True, False, True, False, False, True])
    found = spread(accepted, np.array([0, 0, 0, 0, 1, 1, 1, 2]), ["north", "south", "west"])
    assert found.overall == pytest.approx(5 / 8)
    assert found.names == ("south", "north", "west")
    assert found.shares == pytest.approx([1 / 3, 3 / 4, 1])
    assert found.counts.tolist() == [3, 4, 1]


def test_the_range_and_the_lowest_are_printed() -> None:
    """The five lowest by name, with their pictures."""
    accepted = np.arange(80) % 10 >= np.repeat(range(8), 10)
    overall, lowest = lines(spread(accepted, np.repeat(range(8), 10), list("abcdefgh")))
    assert "8 series 30.0% to 100.0%" in overall
    assert lowest == "lowest: h 30.0% of 10, g 40.0% of 10, f 50.0% of 10, e 60.0% of 10, d 70.0% of 10"
