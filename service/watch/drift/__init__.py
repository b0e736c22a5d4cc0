"""Drift: whether what comes in is still what the calibration was made for.

The guarantee of the threshold is about pictures like those of the calibration. Two charts watch, by every picture that
gets a verdict, whether it can still be relied on. `rejects` counts decisions, and is the first to see strangers that
are rejected by a hair. `p_values` looks at the whole distribution of the scores, and is the first to see very strange
ones and what makes all scores creep; it alone sees what crosses no threshold, such as the same easy picture again and
again. Each limit follows from a run length, the expected number of pictures from the start to a false alarm, and each
chart allows for what a finite calibration set leaves unknown, at the calibration's confidence.

State is of one process and begins anew with every calibration: each replica judges its own share of the traffic. A
quiet chart does not say that strangers are still told apart, only that nothing looks different.

Begin with `rejects.py`, the simpler chart; `p_values.py` has the other, and `dirichlet.py` a bound that it needs.
"""

import math
from typing import NamedTuple

from service.bundle import Calibration
from service.errors import BundleError, SettingError
from service.watch.drift.p_values import PValuesChart
from service.watch.drift.rejects import RejectsChart

KINDS = ("rejects", "p_values")

# What `rejects` can tell apart with a limit that is found at once. A calibration that rejects less is taken to reject
# the least: the run length is longer then, never shorter.
_LEAST_IN_CONTROL, _MOST_IN_CONTROL = 0.003, 0.95


class DriftState(NamedTuple):
    """Where a chart stands: the alarm is raised at the limit and stands until half of it."""

    statistic: float
    limit: float
    alarm: bool


class Drift:
    """The two charts of one process and one calibration.

    *reject_share* is the share of rejected pictures to detect, None for twice the share in control; *run_length* the
    expected number of pictures until a false alarm, of each chart; *strangers_share* the share of foreign pictures that
    is normal for this traffic. Raises SettingError where one of these leaves nothing to detect, and BundleError where
    the calibration does.
    """

    def __init__(
        self, calibration: Calibration, *, reject_share: float | None, run_length: float, strangers_share: float
    ) -> None:
        self._p0 = _in_control(calibration, strangers_share)
        self._p1 = _to_detect(self._p0, reject_share)
        self._rejects = RejectsChart(p0=self._p0, p1=self._p1, run_length=run_length)
        self._p_values = PValuesChart(
            calibration.reference,
            confidence=calibration.confidence,
            run_length=run_length,
            strangers_share=strangers_share,
        )
        self._alarms = dict.fromkeys(KINDS, False)
        self._pictures = 0

    def observe(self, score: float, *, accepted: bool) -> tuple[str, ...]:
        """Take one more verdict into account; return the kinds whose alarm was raised or cleared by it."""
        self._pictures += 1
        self._rejects.observe(rejected=not accepted)
        self._p_values.observe(score)
        states = self.states
        changed = tuple(kind for kind in KINDS if states[kind].alarm != self._alarms[kind])
        self._alarms = {kind: states[kind].alarm for kind in KINDS}
        return changed

    @property
    def states(self) -> dict[str, DriftState]:
        """The state of each chart, by kind."""
        charts: dict[str, RejectsChart | PValuesChart] = {"rejects": self._rejects, "p_values": self._p_values}
        return {kind: _state(chart, self._alarms[kind]) for kind, chart in charts.items()}

    @property
    def pictures(self) -> int:
        """How many pictures were observed."""
        return self._pictures

    @property
    def in_control_reject_share(self) -> float:
        """The most that is rejected while nothing drifts: p0."""
        return self._p0

    @property
    def reject_share(self) -> float:
        """The share of rejected pictures that `rejects` is made to detect: p1."""
        return self._p1


def _state(chart: RejectsChart | PValuesChart, alarm: bool) -> DriftState:
    """Raise the alarm at the limit, and clear it at half of it.

    By then half the evidence is gone: a stream that has recovered gets there in a bounded time, for the statistic stops
    at the limit, while one that has not hovers at the limit and does not make the alarm flap.
    """
    statistic, limit = chart.statistic, chart.limit
    return DriftState(statistic, limit, alarm=statistic >= limit or (alarm and statistic > limit / 2))


def _in_control(calibration: Calibration, strangers_share: float) -> float:
    """p0: strangers, every one of them rejected, and the most of the rest that the calibration's interval allows."""
    low = calibration.tpr_interval[0]
    if not (1 - _MOST_IN_CONTROL <= low < 1 and 0 < calibration.confidence < 1):
        raise BundleError(
            f"A TPR interval of {calibration.tpr_interval} at a confidence of {calibration.confidence} leaves no share "
            "of pictures to be rejected in control, or nearly all; calibrate the bundle again."
        )
    p0 = strangers_share + (1 - strangers_share) * (1 - low)
    if p0 > _MOST_IN_CONTROL:
        most = math.floor(1000 * (1 - (1 - _MOST_IN_CONTROL) / low)) / 1000
        raise SettingError(
            f"MOS_DRIFT_STRANGERS_SHARE={strangers_share} leaves too few pictures that this calibration accepts; set "
            f"it to {most:.3f} or less."
        )
    return max(p0, _LEAST_IN_CONTROL)


def _to_detect(p0: float, reject_share: float | None) -> float:
    """p1: what was asked for, or twice p0, or half-way from p0 to 1 where twice is too much."""
    if reject_share is None:
        return min(2 * p0, (1 + p0) / 2)
    least = p0 + p0 * (1 - p0) / 4  # odds of rejection about a quarter higher: nearer ones take too long to tell apart
    if reject_share < least:
        raise SettingError(
            f"MOS_DRIFT_REJECT_SHARE={reject_share} is not far enough above {p0:.4f}, the share of pictures that this "
            f"calibration rejects in control; set it to {math.ceil(10_000 * least) / 10_000:.4f} or more, or leave it "
            "out for twice that share."
        )
    return reject_share
