"""The methods by which a threshold is chosen, and what each promises; `guarantee.py` has their rules."""

from __future__ import annotations

from enum import StrEnum


class Method(StrEnum):
    """How the rank of the threshold among the calibration scores is chosen."""

    CERTIFIED = "certified"
    CONFORMAL = "conformal"
    QUANTILE = "quantile"


def promise(method: Method, tpr: float, confidence: float) -> str:
    """What a method promises of later in-distribution pictures, and nothing more."""
    kept, sure = f"{100 * tpr:g} %", f"{100 * confidence:g} %"
    return {
        Method.CERTIFIED: f"at least {kept} of later pictures like them are accepted, with {sure} confidence",
        Method.CONFORMAL: f"{kept} of later pictures like them are accepted on average over calibrations",
        Method.QUANTILE: f"{kept} of the calibration pictures are accepted, and nothing is promised of later ones",
    }[method]
