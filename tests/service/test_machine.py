"""A process counts the cores that it may really use."""

from pathlib import Path

import pytest

from service import machine


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put the process on a machine of eight cores whose control group is what a test writes into a folder."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_QUOTA_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "_QUOTA_V1", tmp_path / "quota")
    monkeypatch.setattr(machine, "_PERIOD_V1", tmp_path / "period")
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 3), ("10000 100000", 1), ("9", 8)]
)
def test_a_quota_of_cpu_time_counts(eight_cores: Path, quota: str, cores: int) -> None:
    """A container that is limited to two CPUs sees eight cores, and uses two; part of a core is one."""
    (eight_cores / "cpu.max").write_text(f"{quota}\n")
    assert machine.usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("400000", 4)])
def test_a_quota_of_the_first_control_groups_counts(eight_cores: Path, quota: str, cores: int) -> None:
    """Older systems have one file for the quota and one for its period."""
    (eight_cores / "quota").write_text(f"{quota}\n")
    (eight_cores / "period").write_text("100000\n")
    assert machine.usable_cores() == cores


def test_without_control_groups_the_affinity_counts(eight_cores: Path) -> None:
    """There are none on other systems, and a sandbox may hide them."""
    assert machine.usable_cores() == 8
