"""One row of model outputs and a calibration make a verdict: the only place that decides.

Pure functions of plain numbers. `mos` is in [-1, 0]; `score` is the statistic that decides, which may be `mos` itself.
Both are higher for in-distribution images, and `in` means `score >= threshold`, that of the predicted group.
K groups, k top classes, n calibration scores of which m are stored.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.errors import ModelOutputError

# By how much a probability may pass 0 or 1: a softmax in float32 does by some ten-millionths.
_ROUNDING = 1e-5


class Row(NamedTuple):
    """What the model says about one image."""

    class_index: int
    class_probability: float
    topk_index: NDArray[np.int64]  # (k,)
    topk_probability: NDArray[np.float32]  # (k,)
    others_scores: NDArray[np.float32]  # (K,), groups in manifest order
    mos: float
    score: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one image; probabilities, `mos` and p-value are fractions, `score` has its statistic's scale."""

    label: str
    class_index: int
    probability: float
    group: str
    decision: Literal["in", "out"]
    decided_by: str
    mos: float
    score: float
    threshold: float
    p_value: float
    others_scores: dict[str, float]
    top: list[tuple[str, float]]


def accepts(scores: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Say for every score whether it is in-distribution: `score >= threshold`, same shape as *scores*.

    *threshold* is one for all, or one for each score.

    Raises ModelOutputError on NaN, which must never become a decision.
    """
    # In float64: numpy would round a Python float threshold to the float32 of the scores and move the border.
    exact, limits = np.asarray(scores, dtype=np.float64), np.asarray(threshold, dtype=np.float64)
    if bool(np.isnan(limits).any()) or bool(np.isnan(exact).any()):
        raise ModelOutputError("A score or the threshold is NaN, so nothing can be decided; check the model.")
    return exact >= limits


def p_value(score: float, ranks: Sequence[int], reference_scores: Sequence[float]) -> float:
    """Return the conformal p-value (1 + #{s_i <= score}) / (n + 1) against the calibration scores.

    *reference_scores* (m,) are the order statistics at the 1-based *ranks* (m,), both ascending, the last rank n.
    Between two stored ranks the count is taken as high as it can be, so a thinned reference never makes an
    image look stranger than the whole one would. Raises ModelOutputError on NaN.
    """
    if math.isnan(score):
        raise ModelOutputError("A score is NaN, so it has no p-value; check the model.")
    n = ranks[-1]
    above = bisect_right(reference_scores, score)  # the first stored score that is larger
    # At most (its rank - 1) calibration scores are <= score, and the formula adds one.
    return ranks[above] / (n + 1) if above < len(ranks) else 1.0


def require_finite(row: Row) -> None:
    """Raise ModelOutputError where a number of *row* is NaN or infinite."""
    numbers = (row.class_probability, row.mos, row.score)
    if not all(map(math.isfinite, (*numbers, *row.others_scores.tolist(), *row.topk_probability.tolist()))):
        raise ModelOutputError("The model put out NaN or Inf; serve another bundle.")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Turns rows into verdicts by one calibration; built once, from plain data."""

    classes: Sequence[str]  # (C,)
    group_names: Sequence[str]  # (K,)
    group_of_class: Sequence[int]  # (C,), an index into group_names
    decided_by: str  # the statistic that `score` is
    thresholds: Sequence[float]  # (K,), each of the pictures whose class is predicted to be in that group
    ranks: Sequence[int]  # (m,)
    reference_scores: Sequence[float]  # (m,)

    def judge(self, row: Row) -> Verdict:
        """Return the verdict on *row*; raises ModelOutputError where the numbers contradict themselves."""
        self._check(row)
        score = float(row.score)
        group = self.group_of_class[row.class_index]
        threshold = self.thresholds[group]
        return Verdict(
            label=self.classes[row.class_index],
            class_index=int(row.class_index),
            probability=float(row.class_probability),
            group=self.group_names[group],
            decision="in" if accepts(score, threshold) else "out",
            decided_by=self.decided_by,
            mos=float(row.mos),
            score=score,
            threshold=threshold,
            p_value=p_value(score, self.ranks, self.reference_scores),
            others_scores=dict(zip(self.group_names, row.others_scores.tolist(), strict=True)),
            top=[
                (self.classes[index], probability)
                for index, probability in zip(row.topk_index.tolist(), row.topk_probability.tolist(), strict=True)
            ],
        )

    def _check(self, row: Row) -> None:
        if row.others_scores.shape != (len(self.group_names),) or row.topk_index.shape != row.topk_probability.shape:
            raise ModelOutputError("The model put out a wrong number of scores; export the bundle again.")
        require_finite(row)
        probabilities = (row.class_probability, *row.others_scores.tolist(), *row.topk_probability.tolist())
        if not all(-_ROUNDING <= probability <= 1 + _ROUNDING for probability in probabilities):
            raise ModelOutputError("The model put out a probability outside [0, 1]; serve another bundle.")
        if not all(0 <= index < len(self.classes) for index in (row.class_index, *row.topk_index.tolist())):
            raise ModelOutputError("The model put out a class that the bundle lacks; serve another bundle.")
        if row.mos != -float(row.others_scores.min()):
            raise ModelOutputError("The model's MOS is not -min(others scores); serve a bundle exported as a whole.")
        if self.decided_by == "mos" and row.score != row.mos:
            raise ModelOutputError("The model's score is not the MOS that decides; serve a bundle exported as a whole.")
