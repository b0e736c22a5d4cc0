"""How large the mean of a quantity can be that is known by cell, when the cells' chances are Dirichlet distributed.

So are the chances of the cells between order statistics of n independent scores, each with the difference of ranks as
its parameter (and n + 1 for the rank of the last edge).
"""

import math

import numpy as np
from numpy.typing import NDArray


def chance_above(weights: NDArray[np.float64], shapes: NDArray[np.float64]) -> float:
    """Return P(sum of weights * G > 0) for independent G ~ Gamma(shapes), both (cells,).

    By inverting the characteristic function phi on a grid: 1/2 + 1/pi * integral of Im phi(s) / s over s > 0 (Imhof,
    Biometrika 48, 1961, where 2 G is chi squared with 2 shapes degrees of freedom; the grid of Davies, Applied
    Statistics 29, 1980). In units of the sum's deviation phi is gone long before s = 20, and a grid is as good as the
    integral while the sum, in these units, stays within 2 pi / step.
    """
    deviation = math.sqrt(float(shapes @ weights**2))
    step = 2 * math.pi / (abs(float(shapes @ weights)) / deviation + 40)
    s = np.arange(0.5, 20 / step) * step
    log_phi = -(shapes * np.log(1 - 1j * s[:, None] * weights / deviation)).sum(axis=1)
    return 0.5 + float((np.exp(log_phi).imag / s).sum()) * step / math.pi


def mean_bound(factors: NDArray[np.float64], shapes: NDArray[np.float64], error: float) -> float:
    """Return t with P(sum of factors * D > t) = *error* for D ~ Dirichlet(shapes), both (cells,).

    D is G / sum G for independent G ~ Gamma(shapes), so that the event is: sum of (factors - t) * G > 0.
    """
    chances = shapes / shapes.sum()
    low = float(factors @ chances)
    deviation = math.sqrt(float((factors - low) ** 2 @ chances) / (float(shapes.sum()) + 1))
    high = min(float(factors.max()), low + deviation / math.sqrt(error))  # by Chebyshev's inequality
    for _ in range(25):
        t = (low + high) / 2
        low, high = (t, high) if chance_above(factors - t, shapes) > error else (low, t)
    return high
