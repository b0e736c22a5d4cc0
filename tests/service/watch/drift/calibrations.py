"""Calibrations whose scores are as simple as can be."""

from collections.abc import Sequence
from typing import Any

from service.bundle import Calibration, ReferenceScores
from tests.service.bundle.parts import a_calibration


def calibrated_on(scores: Sequence[float], **changes: Any) -> Calibration:
    """The calibration by *scores*, every one of them stored, at a confidence of 95 %."""
    ordered = sorted(scores)
    fields = {
        "n": len(ordered),
        "k": 1,
        "confidence": 0.95,
        "tpr_interval": (0.95, 0.98),
        "reference": ReferenceScores(ranks=list(range(1, len(ordered) + 1)), scores=ordered),
    }
    return a_calibration(**{**fields, **changes})


def evenly(n: int) -> list[float]:
    """The scores i / (n + 1): what a uniform distribution gives on average."""
    return [i / (n + 1) for i in range(1, n + 1)]
