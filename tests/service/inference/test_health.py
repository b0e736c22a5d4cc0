"""Readiness is the absence of faults, and the weightiest fault is the one that is told."""

import pytest

from service.errors import NotReady
from service.inference.health import Health


def test_a_new_service_is_starting() -> None:
    """Nothing is ready until something has said so."""
    with pytest.raises(NotReady, match="starting"):
        Health().require_ready()


def test_cleared_faults_make_it_ready() -> None:
    """Without a fault there is nothing to raise."""
    health = Health()
    health.clear("starting")
    assert health.ready
    health.require_ready()


def test_the_weightiest_fault_is_told() -> None:
    """A service that ends says so, whatever else is wrong with it."""
    health = Health()
    health.fail("canary")
    health.fail("draining")
    assert health.draining
    with pytest.raises(NotReady, match="shutting down"):
        health.require_ready()


def test_a_drain_outlives_a_recovery() -> None:
    """A canary that passes while draining brings nothing back."""
    health = Health()
    health.fail("draining")
    health.clear("starting", "engine", "canary")
    assert not health.ready


def test_an_uncalibrated_bundle_is_told_with_the_command() -> None:
    """The sentence names what to run."""
    health = Health()
    health.fail("uncalibrated")
    with pytest.raises(NotReady, match="training calibrate"):
        health.require_ready()
