"""Fitting: the whole network on pictures, or the two heads on the features of a frozen backbone.

The loop counts steps. Everything drawn by chance is a function of (seed, step), and a checkpoint holds the rest, so
that an interrupted run that is resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from training import checkpoint
from training.augment import AUGMENTATIONS
from training.distributed import average_gradients, rank, world_size
from training.errors import CheckpointError
from training.network import Network
from training.progress import say, track

Tensors = tuple[Tensor, ...] | list[Tensor]

CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class Recipe:
    """How to fit. One epoch is one pass over the pictures (or features)."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    flat_weight: float = 1.0
    group_weight: float = 1.0
    momentum: float = 0.9
    warm_up: float = 0.15  # share of the steps
    average_decay: float = 0.998  # of the exponential average of the weights, which is what is kept
    augmentation: str = "standard"  # of `training.augment.AUGMENTATIONS`
    bf16: bool = False
    seed: int = 0

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Linear warm-up from nearly zero, then half a cosine to zero."""
        position = (step + 1) / steps
        if position < self.warm_up:
            return self.learning_rate * position / self.warm_up
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (position - self.warm_up) / (1 - self.warm_up)))


class Batches:
    """Labelled tensors in an order drawn anew for each epoch; a batch is a function of (seed, step) alone."""

    def __init__(self, inputs: Tensor, labels: Tensor, recipe: Recipe, *, augmented: bool) -> None:
        self.inputs = inputs
        self.labels = labels
        self.recipe = recipe
        self.augmented = augmented
        # A shorter last batch of an epoch is dropped, unless it is the only one.
        self.per_epoch = max(1, len(labels) // recipe.batch_size)
        self.steps = recipe.epochs * self.per_epoch

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of one step, this process's share of them."""
        epoch, position = divmod(step, self.per_epoch)
        order = torch.from_numpy(np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.labels)))
        chosen = order[position * self.recipe.batch_size : (position + 1) * self.recipe.batch_size]
        inputs, labels = self.inputs[chosen], self.labels[chosen]
        if self.augmented:
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
            inputs = AUGMENTATIONS[self.recipe.augmentation](inputs, generator)
        # Every process draws the whole batch and takes its share, so that how many there are changes nothing.
        return inputs[rank() :: world_size()], labels[rank() :: world_size()]


def fit_network(
    network: Network,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    recipe: Recipe,
    run: Path,
    evaluate: Callable[[Network], str],
) -> Network:
    """Fit backbone and heads on uint8 pictures (N, H, W, 3); resumes from `run` and returns the averaged network."""
    batches = Batches(torch.from_numpy(pixels), torch.from_numpy(labels), recipe, augmented=True)
    return _fit(network, batches, recipe, run, network.forward, evaluate)


def fit_heads(
    network: Network,
    features: Tensor,
    labels: NDArray[np.int64],
    recipe: Recipe,
    run: Path,
    evaluate: Callable[[Network], str],
) -> Network:
    """Fit only the heads on (N, D) features of the frozen backbone (paper §4.1); resumes from `run`."""
    network.backbone.requires_grad_(False)
    batches = Batches(features, torch.from_numpy(labels), recipe, augmented=False)
    return _fit(network, batches, recipe, run, lambda features: features, evaluate)


def _fit(
    network: Network,
    batches: Batches,
    recipe: Recipe,
    run: Path,
    features_of: Callable[[Tensor], Tensor],
    evaluate: Callable[[Network], str],
) -> Network:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    averaged = AveragedModel(network, multi_avg_fn=_exponential_average(recipe.average_decay))
    kept: Network = averaged.module  # type: ignore[assignment]
    first = _resume(run / CHECKPOINT_NAME, recipe, network, averaged, optimizer)
    for epoch in range(first // batches.per_epoch, recipe.epochs):
        started, total = time.monotonic(), 0.0
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        what = f"epoch {epoch + 1} of {recipe.epochs}"
        for step in track(steps, len(steps), what) if rank() == 0 else steps:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(step, batches.steps)
            inputs, labels = batches.at(step)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
                features = features_of(inputs)
            loss = network.loss(features, labels, flat_weight=recipe.flat_weight, group_weight=recipe.group_weight)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            average_gradients(parameters)
            optimizer.step()
            averaged.update_parameters(network)
            total += loss.item()
        if rank() == 0:
            _save(run / CHECKPOINT_NAME, steps.stop, recipe, network, averaged, optimizer)
            _report(epoch, recipe, total / len(steps), time.monotonic() - started, kept, evaluate)
    return kept


def _exponential_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An average that forgets faster in its first steps, so that short runs do not keep their random start."""

    def update(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(averaged, current, 1 - kept)

    return update


def _report(
    epoch: int, recipe: Recipe, loss: float, seconds: float, averaged: Network, evaluate: Callable[[Network], str]
) -> None:
    checked = (epoch + 1) % 5 == 0 or epoch + 1 == recipe.epochs
    outcome = f"  {evaluate(averaged)}" if checked else ""
    say(f"epoch {epoch + 1:3d} of {recipe.epochs}  loss {loss:.4f}  {seconds:.0f} s{outcome}")


def _save(
    file: Path, step: int, recipe: Recipe, network: Network, averaged: AveragedModel, optimizer: torch.optim.Optimizer
) -> None:
    state = {"network": network.state_dict(), "averaged": averaged.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save({"step": step, "recipe": asdict(recipe), **state}, file)


def _resume(
    file: Path, recipe: Recipe, network: Network, averaged: AveragedModel, optimizer: torch.optim.Optimizer
) -> int:
    """Load an interrupted run's state and return its step; 0 where there is none."""
    if not file.exists():
        return 0
    state = checkpoint.load(file)
    if state["recipe"] != asdict(recipe):
        raise CheckpointError(
            f"{file} is of a run with other settings; name another --out, or the same settings to resume."
        )
    network.load_state_dict(state["network"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    say(f"resuming at step {state['step']}")
    return int(state["step"])
