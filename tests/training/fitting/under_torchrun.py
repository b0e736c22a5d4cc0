"""What the processes that torchrun starts for the tests do.

`torchrun ... -m tests.training.fitting.under_torchrun fit_all|train_and_be_killed DATA OUT`
"""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.training.conftest import small_run
from training import __main__ as cli
from training.bundling import export
from training.distributed import process_group
from training.fitting import checkpoint, loop
from training.fitting.recipes import one_cycle
from training.fitting.train import train

FITS: dict[str, dict[str, Any]] = {
    "in parts": {"micro_batch": 5},
    "without the flat head": {"flat_weight": 0.0},
    "mixed": {"mixup_alpha": 0.5},
}
KILL_ME = "kill me"
"""In the folder of the run: the process whose end would be noticed."""
EXPORTS = "exports"
"""In the folder of the run: a line for each export."""


def fit_all(data: Path, out: Path) -> None:
    """Fit a network each way, one after the other; alone, or with the processes that torchrun started beside this."""
    with process_group():
        for name, changes in FITS.items():
            recipe = one_cycle(epochs=1, batch_size=32, learning_rate=0.02)
            config = small_run(data, out / name, replace(recipe, **changes))
            train(config, config.read())


def train_and_be_killed(data: Path, out: Path) -> None:
    """The command `train`, which goes no further than its first checkpoint until it was started anew.

    What it would export is tested elsewhere; here each process that would leaves a line.
    """
    save = checkpoint.save

    def save_and_wait(state: Mapping[str, Any], file: Path) -> None:
        save(state, file)
        draft = out / "draft"
        draft.write_text(str(os.getpid()))
        draft.rename(out / KILL_ME)
        time.sleep(300)

    def note(run: Path, bundle: Path, **_: object) -> SimpleNamespace:
        with (out / EXPORTS).open("a") as lines:
            lines.write(f"{run} {bundle}\n")
        return SimpleNamespace(path=bundle)

    export.export = note
    loop.SHORT_EPOCH_SECONDS = 0.0  # a checkpoint an epoch
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        checkpoint.save = save_and_wait
    options = ["--data", data, "--out", out, "--open-blocks", "all", "--backbone", "R11-tiny", "--epochs", 3]
    cli.main([str(part) for part in ("train", *options, "--batch-size", 32, "--learning-rate", 0.02)])


if __name__ == "__main__":
    {"fit_all": fit_all, "train_and_be_killed": train_and_be_killed}[sys.argv[1]](*map(Path, sys.argv[2:]))
