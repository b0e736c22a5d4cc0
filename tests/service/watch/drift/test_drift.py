"""Both charts of a process: what they allow for, when their alarms are raised and when they are cleared."""

import copy

import numpy as np
import pytest

from service.bundle import Bundle, Calibration
from service.errors import BundleError, SettingError
from service.watch.drift import KINDS, Drift
from tests.service.watch.drift.calibrations import calibrated_on, evenly

CALIBRATION = calibrated_on(evenly(728), threshold=0.04)  # rejects 4 % of a uniform distribution, 5 % at most


def a_drift(calibration: Calibration = CALIBRATION, **changes: float | None) -> Drift:
    settings: dict[str, float | None] = {"reject_share": None, "run_length": 1e7, "strangers_share": 0.0}
    return Drift(calibration, **{**settings, **changes})  # type: ignore[arg-type]


def observe(drift: Drift, scores: np.ndarray) -> list[tuple[int, str]]:
    """Show *scores* to the charts; return every change of an alarm, by the number of its picture."""
    changes = []
    for picture, score in enumerate(scores.tolist(), start=1):
        changes += [(picture, kind) for kind in drift.observe(score, accepted=score >= CALIBRATION.threshold)]
    return changes


def alarms(drift: Drift) -> dict[str, bool]:
    return {kind: state.alarm for kind, state in drift.states.items()}


def strangers_among(random: np.random.Generator, rejected: float, size: int) -> np.ndarray:
    """Uniform scores with so many strangers, which score below the threshold, that this share is rejected in all."""
    share = (rejected - 0.04) / 0.96
    return random.random(size) * np.where(random.random(size) < share, 0.04, 1)


def test_at_the_start_nothing_is_known() -> None:
    """Both statistics are 0, below their limits, and no alarm stands."""
    drift = a_drift()
    assert tuple(drift.states) == KINDS
    assert all(state.statistic == 0 < state.limit and not state.alarm for state in drift.states.values())
    assert drift.pictures == 0


def test_an_unchanged_stream_is_quiet() -> None:
    """Thirty thousand pictures of the distribution that the calibration saw."""
    drift = a_drift()
    assert observe(drift, np.random.default_rng(0).random(30_000)) == []
    assert drift.pictures == 30_000


@pytest.mark.parametrize(
    ("rejected", "latest"), [(0.1, (900, 3_000)), (0.2, (250, 250)), (0.5, (60, 60))], ids=["10 %", "20 %", "50 %"]
)
def test_strangers_raise_both_alarms(rejected: float, latest: tuple[int, int]) -> None:
    """At 10, 20 and 50 % rejects, no later than after so many pictures on average of ten streams."""
    random, fresh = np.random.default_rng(1), a_drift()
    first: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for _ in range(10):
        changes = observe(copy.deepcopy(fresh), strangers_among(random, rejected, 4 * max(latest)))
        for kind in KINDS:
            first[kind].append(next(picture for picture, changed in changes if changed == kind))
    for kind, pictures in zip(KINDS, latest, strict=True):
        assert np.mean(first[kind]) <= pictures


def test_easy_pictures_raise_the_alarm_of_p_values_alone() -> None:
    """What no threshold sees: the same few pictures, all of them easy."""
    drift = a_drift()
    observe(drift, 0.7 + 0.3 * np.random.default_rng(2).random(500))
    assert alarms(drift) == {"rejects": False, "p_values": True}


def test_an_alarm_stands_until_half_of_the_limit() -> None:
    """It is raised once and cleared once, and in between no good picture clears it before half the evidence is gone."""
    drift, random = a_drift(), np.random.default_rng(3)
    assert sorted(kind for _, kind in observe(drift, np.full(2_000, 0.001))) == sorted(KINDS)
    assert all(state.statistic == state.limit for state in drift.states.values())
    cleared = set()
    while len(cleared) < len(KINDS):
        before = alarms(drift)
        cleared |= {kind for _, kind in observe(drift, random.random(1))}
        for kind, state in drift.states.items():
            assert before[kind] == state.alarm or state.statistic <= state.limit / 2
        assert drift.pictures < 5_000


def test_a_cleared_alarm_waits_for_the_limit() -> None:
    """Between half the limit and the limit, only an alarm that was raised stands."""
    drift = a_drift()
    while drift.states["rejects"].statistic <= drift.states["rejects"].limit * 0.6:
        assert observe(drift, np.full(1, 0.039)) == []
    assert not drift.states["rejects"].alarm


def test_what_is_rejected_in_control_is_the_most_that_the_interval_allows() -> None:
    """p0 is the upper bound, not the estimate; p1 is twice that, or what was asked for."""
    assert a_drift().in_control_reject_share == pytest.approx(0.05)
    assert a_drift().reject_share == pytest.approx(0.1)
    assert a_drift(reject_share=0.3).reject_share == 0.3


def test_normal_strangers_count_as_rejected_in_control() -> None:
    """With 20 % strangers, 24 % rejects are no alarm of either kind, and half of all are one of both."""
    drift = a_drift(strangers_share=0.2)
    assert drift.in_control_reject_share == pytest.approx(0.2 + 0.8 * 0.05)
    random = np.random.default_rng(4)
    assert observe(drift, strangers_among(random, 0.232, 20_000)) == []
    observe(drift, strangers_among(random, 0.5, 1_000))
    assert all(alarms(drift).values())


def test_twice_the_share_is_below_1() -> None:
    """Where most pictures are strangers, half of the rest is to be detected."""
    drift = a_drift(strangers_share=0.6)
    assert drift.in_control_reject_share < drift.reject_share == pytest.approx((1 + 0.62) / 2)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.0501, 0.0618])
def test_a_share_too_near_to_that_in_control_is_refused(share: float) -> None:
    """With a sentence that names the setting and the nearest share, which is taken."""
    with pytest.raises(SettingError, match=rf"MOS_DRIFT_REJECT_SHARE={share} .* above 0\.0500, .* 0\.0619 or more"):
        a_drift(reject_share=share)
    assert a_drift(reject_share=0.0619).reject_share == 0.0619


def test_strangers_who_leave_nothing_to_watch_are_refused() -> None:
    """With a sentence that names the setting and the most that it may be, which is taken."""
    half = calibrated_on(evenly(728), tpr_interval=(0.4, 0.5))
    with pytest.raises(SettingError, match=r"MOS_DRIFT_STRANGERS_SHARE=0\.9 .* 0\.874 or less"):
        a_drift(half, strangers_share=0.9)
    assert a_drift(half, strangers_share=0.874).in_control_reject_share == pytest.approx(0.9496)


def test_a_calibration_that_rejects_next_to_nothing_is_watched() -> None:
    """It is taken to reject the least share that the chart of rejects can hold: alarms come later, not sooner."""
    nothing = calibrated_on(evenly(728), threshold=0.0, tpr_interval=(0.9999, 1.0))
    assert a_drift(nothing).in_control_reject_share == 0.003
    assert a_drift(nothing).reject_share == 0.006


@pytest.mark.parametrize(
    "settings",
    [{"strangers_share": 0.9}, {"reject_share": 0.999999}, {"reject_share": 0.0619}, {"run_length": 100}],
)
def test_whatever_the_settings_allow_has_limits(settings: dict[str, float]) -> None:
    """At the ends of what they may be, with the longest run length but for its own end."""
    for state in a_drift(**{"run_length": 1e12, **settings}).states.values():
        assert 0 < state.limit < 100


@pytest.mark.parametrize(
    "changes",
    [{"tpr_interval": (0.0, 0.5)}, {"tpr_interval": (0.04, 0.06)}, {"tpr_interval": (1.0, 1.0)}, {"confidence": 1.0}],
)
def test_a_calibration_that_promises_nothing_is_refused(changes: dict[str, object]) -> None:
    """Neither chart could have a limit."""
    with pytest.raises(BundleError, match="calibrate the bundle again"):
        a_drift(calibrated_on(evenly(59), **changes))


@pytest.mark.parametrize("run_length", [1_000.0, 1e7])
def test_the_smallest_calibration_works(run_length: float) -> None:
    """59 scores, the fewest that can promise 95 % at 95 %: quiet on their own distribution, loud on strangers."""
    drift = a_drift(calibrated_on(evenly(59), threshold=1 / 60, tpr_interval=(0.939, 0.9996)), run_length=run_length)
    random = np.random.default_rng(5)
    assert observe(drift, random.random(1_000)) == []
    observe(drift, strangers_among(random, 0.5, 500))
    assert all(alarms(drift).values())


def test_the_calibration_of_a_bundle_works(tiny_bundle: Bundle) -> None:
    """A real one, with scores that come out of a model."""
    assert tiny_bundle.calibration is not None
    assert a_drift(tiny_bundle.calibration).states["p_values"].limit == pytest.approx(np.log1p(1e7))
