"""Bounds of means over Dirichlet chances: against the Beta quantile, and against draws."""

import numpy as np
import pytest
from scipy.stats import beta

from service.watch.drift.dirichlet import chance_above, mean_bound


@pytest.mark.parametrize(("below", "above"), [(1, 59), (36, 693), (364, 365), (700, 29), (5, 4_996), (500, 999_501)])
def test_the_bound_of_one_level_is_the_beta_quantile(below: float, above: float) -> None:
    """With the factors 1 below a level and 0 above it, the mean is the share below: Beta."""
    bound = mean_bound(np.array([1.0, 0.0]), np.array([below, above]), error=0.003)
    assert bound == pytest.approx(beta.ppf(0.997, below, above), rel=1e-6)


def test_the_inverted_characteristic_function_gives_the_chance() -> None:
    """Of a sum of gammas of both signs, within four standard errors of a million draws."""
    weights, shapes = np.array([5.0, 0.4, -0.3, -1.2]), np.array([2.0, 30.0, 40.0, 10.0])
    draws = np.random.default_rng(0).gamma(shapes, size=(1_000_000, 4)) @ weights > 0
    assert abs(chance_above(weights, shapes) - draws.mean()) <= 4 * draws.std() / 1_000


@pytest.mark.parametrize("shapes", [[1, 4, 30, 20, 4, 1], [3, 11, 218, 364, 111, 22]])
def test_the_bound_is_exceeded_as_often_as_it_may_be(shapes: list[int]) -> None:
    """In 1 of 100 sets of chances, within four standard errors of a hundred thousand draws."""
    factors = np.array([6.0, 2.5, 1.2, 0.8, 0.6, 0.1])
    bound = mean_bound(factors, np.array(shapes), error=0.01)
    exceeded = np.random.default_rng(1).dirichlet(shapes, size=100_000) @ factors > bound
    assert abs(exceeded.mean() - 0.01) <= 4 * np.sqrt(0.01 * 0.99 / 100_000)
