"""Fitting: what is drawn by chance depends on seed and step alone, so runs resume, and processes share, exactly."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training import checkpoint
from training.errors import CheckpointError
from training.fit import CHECKPOINT_NAME, Batches, Recipe, fit_heads, fit_network
from training.groups import Grouping
from training.network import Network

GROUPS = Grouping(("a", "b"), ((0, 1), (2,)))
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.05, weight_decay=5e-4, seed=7)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
LABELS = np.arange(20) % 3


class Interrupted(Exception):
    """Stands for a power cut."""


def network() -> Network:
    """The same random start each time."""
    torch.manual_seed(1)
    return Network("R11-tiny", GROUPS)


def fit(run: Path, interrupt_after: int | None = None, recipe: Recipe = RECIPE) -> Network:
    """Fit on random pictures, optionally cut off after an epoch."""
    run.mkdir(exist_ok=True)
    saved = checkpoint.save
    count = 0

    def save_then_stop(state: dict[str, object], file: Path) -> None:
        nonlocal count
        saved(state, file)
        count += 1
        if count == interrupt_after:
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_then_stop)
        return fit_network(network(), PIXELS, LABELS, recipe, run, lambda _: "")


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Bit for bit, on the CPU, wherever it was cut."""
    whole = fit(tmp_path / "whole").state_dict()
    with pytest.raises(Interrupted):
        fit(tmp_path / "cut", interrupt_after=1)
    resumed = fit(tmp_path / "cut").state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_fitting_changes_the_weights_and_another_seed_changes_them_differently(tmp_path: Path) -> None:
    """The comparison above is not between runs that did nothing."""
    start = network().backbone.root.conv.weight
    one = fit(tmp_path / "one").backbone.root.conv.weight
    other = fit(tmp_path / "other", recipe=replace(RECIPE, seed=8)).backbone.root.conv.weight
    assert not torch.equal(one, start)
    assert not torch.equal(one, other)


def test_a_run_with_other_settings_is_not_resumed(tmp_path: Path) -> None:
    """Resuming with another learning rate would be neither run."""
    fit(tmp_path / "run")
    with pytest.raises(CheckpointError, match="other settings"):
        fit(tmp_path / "run", recipe=replace(RECIPE, learning_rate=0.1))


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    """Half a file is an error, not a fresh start over someone's hours."""
    fit(tmp_path / "run")
    file = tmp_path / "run" / CHECKPOINT_NAME
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        fit(tmp_path / "run")


def test_fitting_heads_leaves_the_backbone_alone(tmp_path: Path) -> None:
    """A frozen backbone is frozen, and both heads learn."""
    start = network()
    features = torch.randn(20, start.backbone.feature_size)
    fitted = fit_heads(start, features, LABELS, RECIPE, tmp_path, lambda _: "")
    assert torch.equal(fitted.backbone.root.conv.weight, network().backbone.root.conv.weight)
    assert fitted.flat.weight.abs().sum() > 0
    assert fitted.group.linear.weight.abs().sum() > 0


def test_an_epoch_shows_each_picture_at_most_once() -> None:
    """The order of an epoch is a permutation, and the next epoch's is another."""
    inputs = torch.arange(20)
    batches = Batches(inputs, inputs, RECIPE, augmented=False)
    assert (batches.per_epoch, batches.steps) == (2, 6)
    epochs = [torch.cat([batches.at(step)[0] for step in range(e * 2, e * 2 + 2)]).tolist() for e in range(3)]
    assert all(len(set(epoch)) == 16 for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    """Linear warm-up to the peak, half a cosine to nothing."""
    rates = [RECIPE.learning_rate_at(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(RECIPE.learning_rate, rel=1e-2)
    assert rates.index(max(rates)) in (13, 14, 15)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[0] == pytest.approx(RECIPE.learning_rate / 15)


@pytest.mark.e2e
def test_two_processes_fit_what_one_fits(demo_data: dict[str, Path], tmp_path: Path) -> None:
    """torchrun with two processes gives the weights of one to rounding."""
    options = ["--data", str(demo_data["train"]), "--fit", "network", "--backbone", "R11-tiny", "--epochs", "1"]
    options += ["--batch-size", "32", "--learning-rate", "0.02"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    for launcher, out in (([sys.executable], "one"), (torchrun, "two")):
        command = [*launcher, "-m", "training", "train", *options, "--out", str(tmp_path / out)]
        subprocess.run(command, check=True, capture_output=True, timeout=240)
    one, two = (checkpoint.load(tmp_path / out / "network.pt")["network"] for out in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)
