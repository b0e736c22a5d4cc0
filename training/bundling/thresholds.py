"""Scores -> thresholds: one for all pictures, and one for each predicted group that has scores enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import GroupThreshold
from service.verdict import accepts
from training.bundling.guarantee import minimum_count, pooled_interval, rank, tpr_interval
from training.bundling.methods import Method


@dataclass(frozen=True)
class Scored:
    """The scores (n,) of pictures, and the place (n,) of each one's predicted group in the manifest."""

    scores: NDArray[np.float64]
    groups: NDArray[np.int64]

    @classmethod
    def of(cls, outputs: dict[str, NDArray[Any]], group_of_class: Sequence[int]) -> Scored:
        """From the outputs `score` and `class_index` of a bundle's model."""
        return cls(outputs["score"].astype(np.float64), np.array(group_of_class, np.int64)[outputs["class_index"]])


@dataclass(frozen=True)
class Rule:
    """A method and what is asked of it; with `group_names` (K,), each predicted group's own threshold where n allows.

    Those thresholds promise the TPR of each group by itself (Mondrian), so that a hard group is not paid for by an easy
    one.
    """

    method: Method
    tpr: float
    confidence: float
    group_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thresholds:
    """What a rule made of n scores: `threshold`, their `k`-th smallest, is of every group that `of_groups` lacks."""

    threshold: float
    k: int
    of_groups: tuple[GroupThreshold, ...]
    tpr_interval: tuple[float, float]  # of all pictures, whichever threshold is theirs
    by_group: NDArray[np.float64] | None = None  # (K,); None where groups do not matter

    def accept(self, scored: Scored) -> NDArray[np.bool_]:
        """Whether each picture (n,) is accepted, by the threshold of its predicted group."""
        return accepts(scored.scores, self.threshold if self.by_group is None else self.by_group[scored.groups])


def choose(scored: Scored, rule: Rule) -> Thresholds:
    """The thresholds of a rule. Raises CalibrationError where there are too few scores."""
    n = len(scored.scores)
    k = rank(rule.method, n, rule.tpr, rule.confidence)
    threshold = _kth_smallest(scored.scores, k)
    entries = [_of_group(scored, place, name, rule) for place, name in enumerate(rule.group_names)]
    of_groups = tuple(entry for entry in entries if entry is not None)
    if not of_groups:
        return Thresholds(threshold, k, (), tpr_interval(n, k, rule.confidence))
    by_group = np.array([entry.threshold if entry else threshold for entry in entries])
    # One part for each group with a threshold of its own, and one for all the others.
    others = ~np.isin(scored.groups, [place for place, entry in enumerate(entries) if entry])
    below = int((~accepts(scored.scores[others], threshold)).sum())
    fewest = sum(entry.k for entry in of_groups) + below
    most = fewest + int(others.any())  # a threshold that is not of their own scores lies somewhere above those below it
    interval = pooled_interval(n, (fewest, most), len(of_groups) + int(others.any()), rule.confidence)
    return Thresholds(threshold, k, of_groups, interval, by_group)


def _of_group(scored: Scored, place: int, name: str, rule: Rule) -> GroupThreshold | None:
    scores = scored.scores[scored.groups == place]
    if len(scores) < minimum_count(rule.tpr, rule.confidence):  # whatever the method: fewer tell too little
        return None
    k = rank(rule.method, len(scores), rule.tpr, rule.confidence)
    return GroupThreshold(
        group=name,
        threshold=_kth_smallest(scores, k),
        n=len(scores),
        k=k,
        tpr_interval=tpr_interval(len(scores), k, rule.confidence),
    )


def _kth_smallest(scores: NDArray[np.float64], k: int) -> float:
    threshold = float(np.partition(scores, k - 1)[k - 1])
    assert accepts(scores, threshold).sum() >= len(scores) - k + 1, (
        "the k-th smallest score rejects at most k - 1. This is a bug."
    )
    return threshold
