"""What this machine, or the container on it, lets one process use."""

import math
import os
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the cores that this process may run on, at least 1: those of its affinity, and no more than its quota.

    A container that is limited to two CPUs sees all cores of its machine; a thread on each would be held up for most of
    each period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota_cores())))


def _quota_cores() -> float:
    """Return how many cores' time the control groups grant, infinite where they set no limit.

    Every group above the process's own may set one. In a container they often look as if its own were the root.
    """
    folders = {_CGROUPS, _CGROUPS / "cpu"}
    with suppress(OSError):  # a system without control groups
        for line in _OWN_CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                own = (_CGROUPS if not controllers else _CGROUPS / "cpu") / path.lstrip("/")
                folders |= {own, *own.parents}
    return min(_quota_of(folder) for folder in folders)


def _quota_of(folder: Path) -> float:
    """Return what one group grants, by the second version of the interface or the first."""
    for read in (_quota_v2, _quota_v1):
        with suppress(OSError, ValueError):  # no such file, or `max`
            quota, period = map(int, read(folder))
            return quota / period if quota > 0 else math.inf
    return math.inf


def _quota_v2(folder: Path) -> list[str]:
    return (folder / "cpu.max").read_text().split()


def _quota_v1(folder: Path) -> list[str]:
    return [(folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")]
