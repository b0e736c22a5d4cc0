"""What is drawn by chance: a generator for each picture, and draws that numpy's generators lack or make slowly."""

from __future__ import annotations

import math

from numpy.random import Generator, Philox


def generator_of(seed: int, index: int) -> Generator:
    """The generator of one picture: counter-based, so (seed, index) is its whole state and costs no seeding."""
    return Generator(Philox(key=seed + (index << 64)))


def chance(generator: Generator, share: float) -> bool:
    """True in `share` of all draws."""
    return generator.random() < share


def between(generator: Generator, low: float, high: float) -> float:
    """Uniform between two numbers."""
    return low + (high - low) * generator.random()


def sized(generator: Generator, low: float, high: float) -> float:
    """Between two sizes, each octave equally likely."""
    return math.exp(between(generator, math.log(low), math.log(max(low, high))))


def count(generator: Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int(generator.random() * (max(low, high) - low + 1))
