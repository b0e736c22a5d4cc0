"""A process counts the cores that it may really use."""

from pathlib import Path

import pytest

from service import machine


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put the process on a machine of eight cores whose control group is what a test writes into a folder."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
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
    (eight_cores / "cpu").mkdir()
    (eight_cores / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (eight_cores / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert machine.usable_cores() == cores


@pytest.mark.parametrize("limited", ["a.slice/b.service", "a.slice"])
def test_the_quota_of_a_service_counts(eight_cores: Path, limited: str) -> None:
    """On a machine without containers it is in the process's own group, or in one above it."""
    (eight_cores / "own").write_text("0::/a.slice/b.service\n")
    (eight_cores / "a.slice/b.service").mkdir(parents=True)
    (eight_cores / "a.slice/b.service/cpu.max").write_text("max 100000\n")
    (eight_cores / limited / "cpu.max").write_text("300000 100000\n")
    assert machine.usable_cores() == 3


def test_without_control_groups_the_affinity_counts(eight_cores: Path) -> None:
    """There are none on other systems, and a sandbox may hide them."""
    assert machine.usable_cores() == 8
