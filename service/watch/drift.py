"""Stub."""

from typing import NamedTuple

from service.bundle import Calibration

KINDS = ("rejects", "p_values")


class DriftState(NamedTuple):
    """The state of one test."""

    statistic: float
    limit: float
    alarm: bool


class Drift:
    """Stub."""

    def __init__(
        self, calibration: Calibration, *, reject_share: float | None, run_length: float, strangers_share: float
    ) -> None:
        self.pictures = 0
        self.in_control_reject_share = 0.05
        self.reject_share = 0.1

    def observe(self, score: float, *, accepted: bool) -> tuple[str, ...]:
        """Stub."""
        self.pictures += 1
        return ()

    @property
    def states(self) -> dict[str, DriftState]:
        """Stub."""
        return {kind: DriftState(0.0, 1.0, False) for kind in KINDS}
