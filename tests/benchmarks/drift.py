"""How soon drift is seen, by several tests of equal run length: `python -m tests.benchmarks.drift`.

Scores are simulated on the scale on which they are normal when nothing drifts. A test is given the run length that 95 %
of calibration sets keep: its limit is simulated so that in control, for all but one calibration set in twenty, an alarm
within RUN_LENGTH pictures has at most the probability 1 - 1/e that it has when the run length is RUN_LENGTH. The change
comes after BEFORE pictures, or with the first one. The delay is a mean over calibration sets and streams, counted as
LONGEST where no alarm came by then (marked `>`, and as `-` where most had none). Recovery is how long alarms go on once
all is well again, after AMISS pictures of a change.
"""

import argparse
from bisect import bisect_right, insort
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from service.watch.drift.p_values import alternatives, factor_table, level_ranks
from service.watch.drift.rejects import reference_value
from training.bundling.guarantee import threshold_rank, tpr_interval

RUN_LENGTH, BEFORE, LONGEST, AMISS = 10_000, 1_000, 10_000, 3_000
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]  # of so many streams, so many pictures after the change


class Test(Protocol):
    """A test on many streams at once, begun with the calibration scores (S, n) of each."""

    def begin(self, calibrations: Floats) -> None: ...

    def step(self, scores: Floats) -> Floats:
        """Take one score (S,) of each stream; return the statistics (S,)."""
        ...


class EDetector:
    """The service's own; with CUSUMs max(M, 1) L in place of the Shiryaev-Roberts sums (M + 1) L for comparison."""

    def __init__(self, n: int, cusum: bool = False) -> None:
        ranks = level_ranks(range(1, n + 1))
        table = factor_table(ranks, n, confidence=0.95, strangers_share=0)
        self._indices = [rank - 1 for rank in ranks]
        self._factors = np.stack([table[cell, cell] for cell in range(len(ranks) + 1)])
        self._cusum = cusum

    def begin(self, calibrations: Floats) -> None:
        self._levels = calibrations[:, self._indices]
        self._evidence = np.zeros((len(calibrations), self._factors.shape[1]))

    def step(self, scores: Floats) -> Floats:
        cells = (self._levels <= scores[:, None]).sum(axis=1)
        begun = np.maximum(self._evidence, 1) if self._cusum else self._evidence + 1
        self._evidence = np.minimum(begun * self._factors[cells], RUN_LENGTH * begun.shape[1])
        return self._evidence.mean(axis=1)


class Window:
    """Kolmogorov-Smirnov or Cramer-von Mises of the last scores' p-values against uniform, on a grid of 50."""

    def __init__(self, size: int, kind: str) -> None:
        self._size, self._kind = size, kind
        self._grid = np.linspace(0.02, 0.98, 49)

    def begin(self, calibrations: Floats) -> None:
        self._levels = np.quantile(calibrations, self._grid, axis=1).T
        self._cells = np.full((self._size, len(calibrations)), -1)
        self._below = np.zeros((len(calibrations), len(self._grid)))
        self._seen = 0

    def step(self, scores: Floats) -> Floats:
        slot, columns = self._seen % self._size, np.arange(len(self._grid))
        old = self._cells[slot]
        self._below -= (old[:, None] >= 0) & (columns >= old[:, None])
        new = (self._levels <= scores[:, None]).sum(axis=1)
        self._below += columns >= new[:, None]
        self._cells[slot] = new
        self._seen += 1
        if self._seen < self._size:
            return np.zeros(len(scores))
        away = np.abs(self._below / self._size - self._grid)
        return away.max(axis=1) if self._kind == "KS" else (away**2).sum(axis=1)


class Martingale:
    """Conformal test martingales with Shiryaev-Roberts restarts, on p-values among *all* scores so far.

    Those are exactly uniform and independent while nothing drifts, and every one of them needs all earlier scores. The
    betting functions are the densities of the service's alternatives, at both ends.
    """

    def begin(self, calibrations: Floats) -> None:
        self._sorted = [sorted(row) for row in calibrations.tolist()]
        self._evidence = np.zeros((len(calibrations), 2 * len(alternatives(0))))
        self._random = np.random.default_rng(0)
        edges = np.linspace(0, 1, 2001)
        densities = [np.diff([g(edge) for edge in edges]) * 2000 for g in alternatives(0)]
        self._densities = np.stack([*densities, *(density[::-1] for density in densities)], axis=-1)

    def step(self, scores: Floats) -> Floats:
        p_values = []
        for score, earlier in zip(scores.tolist(), self._sorted, strict=True):
            p_values.append((bisect_right(earlier, score) + self._random.random()) / (len(earlier) + 1))
            insort(earlier, score)
        cells = (np.array(p_values) * 2000).astype(int)
        evidence = (self._evidence + 1) * self._densities[cells]
        self._evidence = np.minimum(evidence, RUN_LENGTH * evidence.shape[1])
        return self._evidence.mean(axis=1)


class Rejects:
    """The service's Bernoulli CUSUM at the threshold for a TPR of 95 %."""

    def __init__(self, n: int) -> None:
        self._k = threshold_rank(n, 0.95, 0.95)
        p0 = 1 - tpr_interval(n, self._k, 0.95)[0]
        self._gamma = float(reference_value(p0, 2 * p0))

    def begin(self, calibrations: Floats) -> None:
        self._thresholds = calibrations[:, self._k - 1]
        self._sums = np.zeros(len(calibrations))

    def step(self, scores: Floats) -> Floats:
        sums = self._sums + (scores < self._thresholds) - self._gamma
        self._sums = np.clip(sums, 0, 8)  # a little above the limits that come out
        return self._sums


def in_control(random: np.random.Generator, size: int, picture: int = 0) -> Floats:
    return random.standard_normal(size)


def with_foreign(rejected: float, n: int) -> Draw:
    """So many foreign pictures, which score 3 deviations lower, that this share is rejected in all."""
    own = threshold_rank(n, 0.95, 0.95) / (n + 1)
    foreign = norm.cdf(norm.ppf(own) + 3)
    share = (rejected - own) / (foreign - own)

    def draw(random: np.random.Generator, size: int, picture: int) -> Floats:
        return random.standard_normal(size) - 3 * (random.random(size) < share)

    return draw


def moved(by: float = 0.0, spread: float = 1.0) -> Draw:
    return lambda random, size, picture: by + spread * random.standard_normal(size)


def slowly_down(random: np.random.Generator, size: int, picture: int) -> Floats:
    """By one deviation in 10,000 pictures."""
    return random.standard_normal(size) - picture / 10_000


def towards_the_top(random: np.random.Generator, size: int, picture: int) -> Floats:
    """Every picture is one of the easier half."""
    return np.abs(random.standard_normal(size))


def changes(n: int) -> dict[str, Draw]:
    return {
        "10 % rejected": with_foreign(0.1, n),
        "20 %": with_foreign(0.2, n),
        "50 %": with_foreign(0.5, n),
        "down 0.25 sd": moved(-0.25),
        "0.5 sd": moved(-0.5),
        "1 sd": moved(-1),
        "easy half": towards_the_top,
        "spread x 0.5": moved(spread=0.5),
        "x 1.5": moved(spread=1.5),
        "1 sd down in 10,000": slowly_down,
        "0.25 sd down from the first picture": moved(-0.25),
    }


def limit_of(test: Test, n: int, sets: int, streams: int) -> float:
    """Simulate the limit that gives 95 % of calibration sets a run length of RUN_LENGTH."""
    random = np.random.default_rng(1)
    test.begin(np.repeat(np.sort(random.standard_normal((sets, n)), axis=1), streams, axis=0))
    most = np.zeros(sets * streams)
    for _ in range(RUN_LENGTH):
        np.maximum(most, test.step(in_control(random, len(most))), out=most)
    by_set = most.reshape(sets, streams) if streams > 1 else most[None]  # or over all sets together
    return float(np.quantile(np.quantile(by_set, 1 / np.e, axis=1), 0.95))


def delay(test: Test, limit: float, n: int, draw: Draw, streams: int, before: int) -> str:
    """Mean pictures from the change to the alarm, each stream with a calibration set of its own."""
    random = np.random.default_rng(2)
    test.begin(np.sort(random.standard_normal((streams, n)), axis=1))
    early = np.zeros(streams, bool)
    for _ in range(before):
        early |= test.step(in_control(random, streams)) >= limit
    delays = np.full(streams, LONGEST)
    for picture in range(1, LONGEST):
        alarmed = test.step(draw(random, streams, picture)) >= limit
        delays[alarmed] = np.minimum(delays[alarmed], picture)
        if (early | (delays < LONGEST)).all():
            break
    kept = delays[~early]
    missed = float((kept == LONGEST).mean())
    return "-" if missed > 0.5 else f"{'>' if missed else ''}{kept.mean():.0f}"


def recovery(test: Test, limit: float, n: int, streams: int) -> str:
    """Mean pictures to the last alarm after all is well again, when AMISS pictures had scored 1 sd lower."""
    random = np.random.default_rng(3)
    test.begin(np.sort(random.standard_normal((streams, n)), axis=1))
    for picture in range(BEFORE + AMISS):
        test.step(in_control(random, streams) - (picture >= BEFORE))
    last = np.zeros(streams)
    for picture in range(1, 2 * AMISS):
        last[test.step(in_control(random, streams)) >= limit] = picture
    still = float((last >= 1.9 * AMISS).mean())
    return "-" if still > 0.5 else f"{'>' if still else ''}{last.mean():.0f}"


def tests_of(n: int) -> dict[str, tuple[Test, float | None]]:
    """Each test, with the limit where it is proven and not simulated."""
    return {
        "rejects: Bernoulli CUSUM": (Rejects(n), None),
        "e-detector, limit proven": (EDetector(n), float(RUN_LENGTH)),
        "e-detector": (EDetector(n), None),
        "e-detector, limit proven, of CUSUMs": (EDetector(n, cusum=True), float(RUN_LENGTH)),
        **{f"{kind}, window {size}": (Window(size, kind), None) for kind in ("KS", "CvM") for size in (50, 200, 1000)},
        "conformal martingale": (Martingale(), None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=100, help="calibration sets for a limit")
    parser.add_argument("--streams", type=int, default=20, help="streams a calibration set")
    arguments = parser.parse_args()
    for n in (728, 5_000):
        heads = ["test", "limit", *changes(n), f"recovery from {AMISS:,}"]
        print(f"\nn = {n}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for name, (test, proven) in tests_of(n).items():
            # The martingale owes little to the calibration set, and a Python list of scores to each stream.
            sets, streams = (200, 1) if isinstance(test, Martingale) else (arguments.sets, arguments.streams)
            limit = proven or limit_of(test, n, sets, streams)
            cells = [
                delay(test, limit, n, draw, streams=200, before=0 if "first" in change else BEFORE)
                for change, draw in changes(n).items()
            ]
            cells.append(recovery(test, limit, n, streams=40))
            print(f"| {name} | {limit:.4g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
