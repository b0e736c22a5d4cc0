"""Which series are held out: whole ones, a share of every class, and never all of a class."""

import numpy as np
import pytest

from training.data.drawing import draw_series
from training.data.series import classes_of_one_series


def drawn(sizes: list[list[int]], fractions: tuple[float, ...], seed: int = 0) -> tuple[np.ndarray, ...]:
    """Labels, series and parts of classes whose series have these sizes."""
    labels = np.repeat(range(len(sizes)), [sum(some) for some in sizes])
    flat = [size for some in sizes for size in some]
    series = np.repeat(range(len(flat)), flat)
    return labels, series, draw_series(labels, series, fractions, seed)


@pytest.mark.parametrize("seed", range(5))
def test_no_series_is_on_two_sides(seed: int) -> None:
    """And the parts have about the shares that were asked for."""
    sizes = np.random.default_rng(seed).integers(1, 8, (20, 15)).tolist()
    _, series, part = drawn(sizes, (0.2, 0.1), seed)
    assert all(len(set(part[series == number].tolist())) == 1 for number in set(series.tolist()))
    shares = np.bincount(part) / len(part)
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_series_of_one_picture_give_each_class_its_exact_share() -> None:
    """As if there were no series."""
    labels, _, part = drawn([[1] * 20, [1] * 10, [1] * 40], (0.3, 0.1))
    assert [np.bincount(labels[part == which]).tolist() for which in (1, 2)] == [[6, 3, 12], [2, 1, 4]]


def test_a_class_of_one_series_is_fitted_whole() -> None:
    """Nothing of it is held out, and it is counted."""
    labels, series, part = drawn([[30], [1] * 30, [5, 25]], (0.1, 0.1))
    assert (part[labels == 0] == 0).all()
    assert classes_of_one_series(labels, series) == 1


@pytest.mark.parametrize("seed", range(10))
def test_every_class_keeps_a_series_to_fit_on(seed: int) -> None:
    """However much is asked for."""
    labels, _, part = drawn([[1, 1], [3, 1], [2], [1]], (0.6, 0.4), seed)
    assert set(labels[part == 0].tolist()) == {0, 1, 2, 3}


def test_what_large_series_cannot_give_exactly_some_classes_give_for_all() -> None:
    """Three series of ten a class, a tenth asked for: a third of the classes give a series."""
    labels, _, part = drawn([[10, 10, 10]] * 30, (0.1,))
    assert (part == 1).sum() == 90
    assert len(set(labels[part == 1].tolist())) > 7


def test_the_first_part_gets_a_series_even_where_each_is_too_large() -> None:
    """Four shops with every class in each: one shop for the threshold, none for choices."""
    labels, series = np.repeat(range(5), 40), np.tile(np.repeat(range(4), 10), 5)
    part = draw_series(labels, series, (0.1, 0.02), 0)
    assert np.bincount(part).tolist() == [150, 50]
    assert len(set(series[part == 1].tolist())) == 1


def test_nothing_is_held_out_where_nothing_is_asked_for() -> None:
    """A fraction of 0 is no reason to spare a series."""
    assert (drawn([[1] * 20], (0.0, 0.0))[2] == 0).all()


def test_another_seed_draws_others_and_the_same_seed_the_same() -> None:
    """The order of the series is all that chance decides."""
    parts = [drawn([[1] * 30] * 3, (0.2,), seed)[2].tolist() for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
