"""Measures with a command, and says how much of the machine others used meanwhile: what they do makes figures noisy."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

from tests.benchmarks.peers import process_tree
from tests.benchmarks.peers.journal import Row
from tests.server_process import ROOT

# More than this used by others while something was measured, and it is measured again.
CALM_CORES = 0.1


def calmest(measure: Callable[[], Row], attempts: int) -> Row:
    """Return what is measured; where others used the machine meanwhile, measure again and keep the calmest."""
    rows = [measure()]
    while rows[-1]["others_cores"] > CALM_CORES and len(rows) < attempts:
        rows.append(measure())
    return min(rows, key=lambda row: row["others_cores"])


def output_of(command: list[str], beside: int | None = None) -> Row:
    """Return what *command* prints, with the processor time of it and of the process tree *beside* it."""

    def spent_by_us() -> tuple[float, float]:
        return process_tree.ended_children_cpu_seconds(), 0.0 if beside is None else process_tree.cpu_seconds(beside)

    began_at, machine, before = time.monotonic(), process_tree.machine_cpu_seconds(), spent_by_us()
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    own, of_beside = (after - then for after, then in zip(spent_by_us(), before, strict=True))
    others = process_tree.machine_cpu_seconds() - machine - own - of_beside
    row: Row = json.loads(done.stdout)
    row |= {"command_cpu_seconds": own, "beside_cpu_seconds": of_beside}
    return row | {"others_cores": others / (time.monotonic() - began_at)}
