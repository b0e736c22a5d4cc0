"""What this machine, or the container on it, lets one process use."""

import math
import os
from pathlib import Path

# Where a container's own control group shows itself, in the second version of that interface and in the first.
_QUOTA_V2 = Path("/sys/fs/cgroup/cpu.max")
_QUOTA_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_PERIOD_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cores() -> int:
    """Return the cores that this process may run on, at least 1: those of its affinity, and no more than its quota.

    A container that is limited to two CPUs sees all cores of its machine; a thread on each would be held up for most of
    each period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota_cores())))


def _quota_cores() -> float:
    """Return how many cores' time the control group grants, infinite where it sets no limit."""
    try:
        if _QUOTA_V2.exists():
            quota, period = _QUOTA_V2.read_text().split()
        else:
            quota, period = _QUOTA_V1.read_text(), _PERIOD_V1.read_text()
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError):  # no control groups, or `max`
        return math.inf
