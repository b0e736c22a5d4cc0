"""What this machine lets one process use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process may run on, shared with its neighbours where torchrun started several."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
