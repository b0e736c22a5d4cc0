"""How acceptance differs from series to series: one threshold for all may suit one shop or camera and not another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST = 5  # series that are named


@dataclass(frozen=True)
class Spread:
    """Shares of pictures accepted: of all, and of each of G series, the lowest first."""

    overall: float
    names: tuple[str, ...]
    shares: NDArray[np.float64]  # (G,)
    counts: NDArray[np.int64]  # (G,) pictures


def spread(accepted: NDArray[np.bool_], series: NDArray[np.int64], names: Sequence[str]) -> Spread:
    """Of pictures (n,) whose series are places in `names` (G,), each of which has a picture."""
    counts = np.bincount(series, minlength=len(names))
    shares = np.bincount(series, accepted, minlength=len(names)) / counts
    order = np.lexsort((-counts, shares))
    return Spread(float(accepted.mean()), tuple(names[place] for place in order), shares[order], counts[order])


def lines(found: Spread) -> list[str]:
    """For a person: the range over series, and the lowest by name."""
    low, tenth, median, high = np.quantile(found.shares, [0, 0.1, 0.5, 1])
    lowest = list(zip(found.names, found.shares, found.counts, strict=True))[:LOWEST]
    return [
        f"accepted {found.overall:.1%} of all, and of {len(found.names)} series {low:.1%} to {high:.1%}: "
        f"a tenth of them below {tenth:.1%}, half below {median:.1%}",
        "lowest: " + ", ".join(f"{name} {share:.1%} of {count}" for name, share, count in lowest),
    ]
