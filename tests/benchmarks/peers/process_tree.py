"""A process with all its children: what it costs, and how to stop it for a while; and what the whole machine does."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def members(root: int) -> list[int]:
    """Return the processes of the tree, its root first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    tree = [root]
    for process in tree:
        tree += children.get(process, [])
    return tree


def cpu_seconds(root: int) -> float:
    """Return the processor time of the tree since it began, with that of children that have ended."""
    stats = [fields for process in members(root) if (fields := _stat(process))]
    return sum(int(ticks) for fields in stats for ticks in fields[11:15]) / _TICKS_PER_SECOND


def machine_cpu_seconds() -> float:
    """Return the processor time that everybody on this machine has used since it began, or was kept from having."""
    user, nice, system, _, _, *interrupts_and_steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(interrupts_and_steal)) / _TICKS_PER_SECOND


def ended_children_cpu_seconds() -> float:
    """Return the processor time of this process's children that have ended, such as load generators."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_bytes(root: int) -> int:
    """Return the proportional set size of the tree: pages that its processes share count once."""
    return sum(_pss_bytes(process) for process in members(root))


def freeze(root: int) -> None:
    """Take the processor from the tree, so that not even its timers run."""
    _signal(members(root), signal.SIGSTOP)


def thaw(root: int) -> None:
    """Give the processor back."""
    _signal(members(root), signal.SIGCONT)


def kill(processes: list[int]) -> None:
    """Kill those of *processes* that still run."""
    _signal(processes, signal.SIGKILL)


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _stat(process: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none where the process has ended."""
    try:
        line = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return []
    return line.rpartition(")")[2].split()


def _pss_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
