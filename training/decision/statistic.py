"""The statistic that decides: its parts, each standardised on held-out in-distribution pictures, weighed and summed.

`mos` alone is the paper's score as it is. Anything else is called by its parts, such as `mos+knn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.bundle import Decision, StatisticPart
from training.decision.parts import BANK_SIZE, NEIGHBOURS, Cosine, Knn, Logit, Mos, Part, Residual, bank_rows
from training.errors import SettingError
from training.model.group_softmax import GroupHead, minimum_others_score

MOS = "mos"
PARTS = ("mos", "logit", "knn", "residual", "cosine")
SMALLEST_DEVIATION = 1e-6  # of equal values nothing can be told
LEAST_HELD_OUT = 20  # pictures that a mean and a deviation are told from


@dataclass(frozen=True)
class Material:
    """What a statistic is fitted to: features of the pictures that were fitted on, and of others that were not."""

    fitted: NDArray[np.float32]  # (N, D)
    labels: NDArray[np.int64]  # (N,)
    held_out: NDArray[np.float32]  # (n, D)


class Statistic(nn.Module):
    """Features (N, D) and logits (N, C + K) -> score (N,), higher = in-distribution."""

    means: Tensor  # (P,) of each of the P parts
    deviations: Tensor

    def __init__(self, parts: Sequence[Part], means: Tensor, deviations: Tensor, held_out: int) -> None:
        super().__init__()
        self._parts = tuple(parts)  # as what they are; the list below makes their buffers this module's
        self.parts = nn.ModuleList(parts)
        self.held_out = held_out  # pictures that the moments are of
        self.register_buffer("means", means)
        self.register_buffer("deviations", deviations)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: D102
        values = torch.stack([part(features, logits) for part in self._parts], dim=1)
        return ((values - self.means) / self.deviations).sum(dim=1)

    def described(self) -> Decision:
        """What the bundle says of it."""
        parts = [
            StatisticPart(name=part.name, weight=1.0, mean=mean, deviation=deviation, parameters={**part.described})
            for part, mean, deviation in zip(self._parts, self.means.tolist(), self.deviations.tolist(), strict=True)
        ]
        return Decision(
            statistic="+".join(part.name for part in parts), parts=parts, parameters={"held_out": self.held_out}
        )


def part_names(statistic: str) -> tuple[str, ...]:
    """The parts of a statistic as people write it. Raises SettingError for one that cannot be made."""
    names = tuple(statistic.split("+"))
    if len(set(names)) < len(names) or not set(names) <= set(PARTS):
        raise SettingError(f"--decide-by is {statistic!r}; join different ones of {', '.join(PARTS)} by +.")
    return names


def held_out_of(*candidates: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first of several sets of features (n, D) that is large enough for moments; the largest where none is.

    The deviation of one or two pictures is nearly nothing, and would make a score of rounding errors.
    """
    enough = (features for features in candidates if len(features) >= LEAST_HELD_OUT)
    return next(enough, max(candidates, key=len))


def fit_statistic(statistic: str, head: GroupHead, material: Material, *, seed: int) -> Statistic | None:
    """The statistic of that name on a fitted head; None for `mos` alone, which is the paper's score as it is.

    Moments are of the held-out pictures, so that no part counts for more only because the head knows its training
    pictures by heart. Raises SettingError for a name that cannot be made.
    """
    names = part_names(statistic)
    if names == (MOS,):
        return None
    parts = [_part(name, head, material, seed) for name in names]
    held_out = torch.from_numpy(material.held_out)
    with torch.no_grad():
        logits = head(held_out)
        values = torch.stack([part(held_out, logits) for part in parts], dim=1)  # (n, P)
    deviations = values.std(dim=0, correction=0).clamp(min=SMALLEST_DEVIATION)
    return Statistic(parts, values.mean(dim=0), deviations, len(held_out))


def scores(head: GroupHead, statistic: Statistic | None, features: Tensor) -> Tensor:
    """The score (N,) that decides, of features (N, D)."""
    with torch.no_grad():
        logits = head(features)
        if statistic is not None:
            score: Tensor = statistic(features, logits)
            return score
        return minimum_others_score(head.probabilities(logits)[1])


def _part(name: str, head: GroupHead, material: Material, seed: int) -> Part:
    if name == Mos.name:
        return Mos(head)
    if name == Logit.name:
        return Logit(head)
    fitted = torch.from_numpy(material.fitted)
    if name == Residual.name:
        return Residual(fitted)
    if name == Cosine.name:
        return Cosine(fitted, torch.from_numpy(material.labels))
    rows = bank_rows(material.labels, BANK_SIZE, seed)
    return Knn(fitted[rows], min(NEIGHBOURS, len(rows)))
