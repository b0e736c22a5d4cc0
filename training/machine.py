"""What this machine lets one process use."""

from __future__ import annotations

import os

from service import machine


def usable_cores() -> int:
    """Cores that this process may run on, shared with its neighbours where torchrun started several."""
    return max(1, machine.usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
