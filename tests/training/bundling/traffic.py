"""Simulated traffic for the tests of labels: requests of pictures, their verdict lines, and operators who label some.

A picture's score is uniform on [0, 1], so that the true TPR of a threshold is one minus it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.bundle import Manifest
from tests.training.bundling.lines import Line, feedback_line, verdict_line, write_lines
from training.bundling.labelled_sample import sample
from training.bundling.labels import read_labels


class Picture(NamedTuple):
    """A served picture."""

    request_id: str
    index: int
    score: float


def requests(
    generator: np.random.Generator, sizes: Sequence[int], *, alike: float = 0.0, name: str = "r"
) -> list[Picture]:
    """The pictures of requests of these sizes; a share `alike` of each one's look nearly the same."""
    pictures = []
    for number, size in enumerate(sizes):
        common = generator.random() + 1e-7 * generator.random(size)
        scores = np.where(generator.random(size) < alike, common, generator.random(size))
        pictures += [Picture(f"{name}{number}", index, float(score)) for index, score in enumerate(scores)]
    return pictures


def _decision(picture: Picture, threshold: float) -> str:
    return "in" if picture.score >= threshold else "out"


def verdicts(manifest: Manifest, pictures: Sequence[Picture], threshold: float) -> list[Line]:
    """The verdict lines of pictures."""
    return [
        verdict_line(manifest, p.request_id, p.score, _decision(p, threshold), index=p.index, threshold=threshold)
        for p in pictures
    ]


def asked(
    generator: np.random.Generator, pictures: Sequence[Picture], threshold: float, *, of_in: float, of_out: float
) -> list[Line]:
    """The feedback lines of operators who label so much of what was accepted and of what was rejected."""
    chance = {"in": of_in, "out": of_out}
    return [
        feedback_line(p.request_id, "in", index=p.index, score=p.score)
        for p in pictures
        if generator.random() < chance[_decision(p, threshold)]
    ]


def kept_scores(manifest: Manifest, folder: Path, lines: Sequence[Line], threshold: float) -> list[float]:
    """The scores of the labels that count, under the threshold in force."""
    labels = read_labels([write_lines(folder / "lines.jsonl", lines)], manifest, [threshold] * len(manifest.groups))
    return [label.score for label in sample(labels.usable, labels.logged).kept]
