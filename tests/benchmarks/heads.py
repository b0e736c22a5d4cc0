"""What fitting a head on cached features costs beside its bare matrix products.

    python -m tests.benchmarks.heads [STEPS]

The paper's sizes: batches of 512, 2,048 features, 1,000 classes in 8 groups (1,008 logits), read from a memory map.
The bare products are the forward pass and the gradient of the weights. Interleaved, medians of CPU time.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from training.fitting.batches import feature_batches
from training.fitting.loop import Objective, take_step
from training.fitting.recipes import paper
from training.grouping.groups import Grouping
from training.model.network import Heads
from training.reproduction import Settings

FEATURES, BATCH, PICTURES = 2048, 512, 20_000
GROUP_SIZES = (398, 521, 9, 7, 52, 8, 3, 2)


def main(steps: int = 60) -> None:
    """Print the two times and their ratio."""
    torch.set_num_threads(1)
    edges = np.cumsum([0, *GROUP_SIZES])
    members = tuple(tuple(range(a, b)) for a, b in itertools.pairwise(edges.tolist()))
    heads = Heads(FEATURES, Grouping(tuple(f"group {index}" for index in range(8)), members))
    recipe = paper(1_281_167, Settings(), flat_weight=0.0)
    heads.close_unused(flat=False, group=True)
    objective = Objective(heads, recipe, on_features=True)
    optimizer = torch.optim.SGD(heads.group.parameters(), recipe.learning_rate, recipe.momentum)
    generator = np.random.default_rng(0)
    x, w, g = torch.randn(BATCH, FEATURES), torch.randn(1008, FEATURES), torch.randn(BATCH, 1008)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "views.npy"
        views = np.lib.format.open_memmap(file, "w+", np.float32, (2, PICTURES, FEATURES))
        views[:] = generator.standard_normal(views.shape, np.float32)
        labels = generator.integers(0, 1000, PICTURES)
        batches = feature_batches(np.load(file, mmap_mode="r"), np.arange(PICTURES), labels, recipe)
        bare, whole = [], []
        for step in range(steps):
            bare.append(cpu_seconds(lambda: (x @ w.T, g.T @ x)))
            whole.append(cpu_seconds(lambda step=step: take_step(objective, batches.at(step), recipe, optimizer)))
    bare_ms, whole_ms = 1e3 * float(np.median(bare)), 1e3 * float(np.median(whole))
    print(f"bare products {bare_ms:.1f} ms, a whole step {whole_ms:.1f} ms, ratio {whole_ms / bare_ms:.2f}")


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
