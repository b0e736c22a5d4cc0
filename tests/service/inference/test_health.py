"""Readiness is the absence of faults, and the weightiest fault is the one that is told."""

import pytest

from service.errors import NotReady
from service.inference.health import Health, require_none


def test_a_fault_is_told() -> None:
    """Nothing is ready while something speaks against it."""
    with pytest.raises(NotReady, match="starting"):
        require_none(Health("starting").faults)


def test_cleared_faults_make_it_ready() -> None:
    """Without a fault there is nothing to raise."""
    health = Health("starting")
    health.clear("starting")
    assert not health.faults
    require_none(health.faults)


def test_the_weightiest_fault_is_told() -> None:
    """A service that ends says so, whatever else is wrong with the guard in it."""
    process, guard = Health(), Health("canary")
    process.fail("draining")
    assert process.draining
    with pytest.raises(NotReady, match="shutting down"):
        require_none(guard.faults | process.faults)


def test_a_fault_stays_until_it_is_taken_back_itself() -> None:
    """A canary that passes brings back nothing but what it proves."""
    health = Health("draining")
    health.clear("starting", "engine", "canary")
    assert health.faults == {"draining"}


def test_an_uncalibrated_bundle_is_told_with_the_command() -> None:
    """The sentence names what to run."""
    with pytest.raises(NotReady, match="training calibrate"):
        require_none(Health("uncalibrated").faults)


def test_a_fault_counts_its_time_from_the_first_note_of_it() -> None:
    """Noting it again does not begin anew; taking it back does."""
    now = [100.0]
    health = Health(clock=lambda: now[0])
    assert health.seconds("engine") == 0
    health.fail("engine")
    now[0] += 5
    health.fail("engine")
    now[0] += 2
    assert health.seconds("engine") == 7
    health.clear("engine")
    assert health.seconds("engine") == 0
