"""Fitting: the open part of a network on pictures, or its heads on the features of a frozen backbone.

The loop counts steps. Everything drawn by chance is a function of (seed, step), and a checkpoint holds the rest, so
that an interrupted run that is resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from training.distributed import device, rank, world_size
from training.errors import CheckpointError, SettingError
from training.fitting import checkpoint
from training.fitting.batches import Batch, Batches
from training.fitting.recipes import Recipe
from training.model.network import Heads
from training.progress import say, track

Tensors = tuple[Tensor, ...] | list[Tensor]
Model = TypeVar("Model", bound=Heads)

CHECKPOINT_NAME = "checkpoint.pt"
CHECKPOINT_EVERY_SECONDS = 600.0
SHORT_EPOCH_SECONDS = 0.5


class Objective(nn.Module):
    """The loss of a share of a batch, as one module, so that several processes can average its gradients."""

    def __init__(self, network: Heads, recipe: Recipe, *, on_features: bool) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.on_features = on_features

    def forward(self, inputs: Tensor, labels: Tensor, partners: Tensor, share: float) -> Tensor:  # noqa: D102
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            features = inputs if self.on_features else self.network(inputs)
        loss = self._loss(features, labels)
        return loss if share == 1.0 else share * loss + (1 - share) * self._loss(features, partners)

    def _loss(self, features: Tensor, labels: Tensor) -> Tensor:
        weights = {"flat_weight": self.recipe.flat_weight, "group_weight": self.recipe.group_weight}
        return self.network.loss(features, labels, **weights)


@dataclass
class Fit(Generic[Model]):
    """What changes while fitting, and what a checkpoint holds."""

    network: Model
    averaged: AveragedModel | None
    optimizer: torch.optim.Optimizer

    @property
    def kept(self) -> Model:
        """The network that a run keeps: the average of the weights where the recipe asks for one."""
        return self.network if self.averaged is None else self.averaged.module  # type: ignore[return-value]

    def state(self) -> dict[str, object]:
        """Everything that the next step depends on."""
        parts = {"network": self.network, "averaged": self.averaged, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}


def fit(
    network: Model,
    batches: Batches,
    recipe: Recipe,
    run: Path,
    report: Callable[[Model], str],
    *,
    on_features: bool = False,
) -> Model:
    """Fit every parameter of `network` that requires a gradient; resumes from `run` and returns what is kept.

    With `on_features` the batches hold (n, D) features of a frozen backbone, and the heads alone are fitted. `report`
    is a line on the network as it is, for the log.
    """
    if batches.size < world_size():
        raise SettingError(f"Batches of {batches.size} cannot be shared by {world_size()} processes; make them larger.")
    if not (recipe.flat_weight or recipe.group_weight):
        raise SettingError("Both losses have no weight; give --flat-weight or --group-weight.")
    network.to(device()).close_unused(flat=recipe.flat_weight > 0, group=recipe.group_weight > 0)
    going = _start(network, recipe)
    first = _resume(run / CHECKPOINT_NAME, recipe, going)
    objective: nn.Module = Objective(network, recipe, on_features=on_features)
    if world_size() > 1:
        objective = DistributedDataParallel(objective, forward_sync_buffers=False)  # buffers are constants
    started = saved = time.monotonic()
    total, since = torch.zeros((), device=device()), 0
    for step, batch in _shown(batches, first):
        for group in going.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step, batches.steps)
        total, since = total + take_step(objective, batch, recipe, going.optimizer), since + 1
        if going.averaged is not None:
            going.averaged.update_parameters(network)
        ended = (step + 1) % batches.per_epoch == 0 or step + 1 == batches.steps
        done = step + 1 == batches.steps
        # Epochs of a step or two are not worth a file each.
        due = SHORT_EPOCH_SECONDS if ended else CHECKPOINT_EVERY_SECONDS
        if rank() == 0 and (done or time.monotonic() - saved >= due):
            checkpoint.save({"step": step + 1, "recipe": asdict(recipe), **going.state()}, run / CHECKPOINT_NAME)
            saved = time.monotonic()
        if rank() == 0 and ended and (done or time.monotonic() - started >= SHORT_EPOCH_SECONDS):
            _say_epoch(step, batches, float(total) / since, time.monotonic() - started, going.kept, report)
            started, total, since = time.monotonic(), torch.zeros((), device=device()), 0
    return going.kept.cpu()


def take_step(objective: nn.Module, batch: Batch, recipe: Recipe, optimizer: torch.optim.Optimizer) -> Tensor:
    """One optimiser step over this process's share of a batch, in parts of `recipe.micro_batch`; returns its loss.

    Parts and shares are weighted by their size, so the gradient is that of the whole batch at once.
    """
    optimizer.zero_grad()
    count = len(batch.labels)
    edges = list(range(0, count, recipe.micro_batch or max(1, count)))
    loss = torch.zeros((), device=device())
    for start in edges:
        part = slice(start, start + (recipe.micro_batch or count))
        inputs, labels, partners = (tensor[part].to(device()) for tensor in batch[:3])
        last = start == edges[-1]
        waiting = objective.no_sync if isinstance(objective, DistributedDataParallel) and not last else nullcontext
        with waiting():
            mean = objective(inputs, labels, partners, batch.share)
            (mean * (len(labels) * world_size() / batch.size)).backward()
        loss += mean.detach() * len(labels) / count
    if len(edges) == 1 or recipe.steps_after_split:
        optimizer.step()
    return loss


def _start(network: Model, recipe: Recipe) -> Fit[Model]:
    optimizer = torch.optim.SGD(
        [parameter for parameter in network.parameters() if parameter.requires_grad],
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
    averaged = None
    if recipe.average_decay:
        averaged = AveragedModel(network, multi_avg_fn=_exponential_average(recipe.average_decay))
    return Fit(network, averaged, optimizer)


def _exponential_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An average that forgets faster in its first steps, so that short runs do not keep their random start."""

    def update(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(averaged, current, 1 - kept)

    return update


def _shown(batches: Batches, first: int) -> Iterator[tuple[int, Batch]]:
    stream = batches.stream(first)
    return iter(track(stream, batches.steps - first, "step")) if rank() == 0 else stream


def _say_epoch(
    step: int, batches: Batches, loss: float, seconds: float, kept: Model, report: Callable[[Model], str]
) -> None:
    epoch, epochs = (step + 1) // batches.per_epoch, batches.steps // batches.per_epoch
    checked = epoch % 5 == 0 or step + 1 == batches.steps
    say(f"epoch {epoch:3d} of {epochs}  loss {loss:.4f}  {seconds:.0f} s  {report(kept) if checked else ''}".rstrip())


def _resume(file: Path, recipe: Recipe, going: Fit[Model]) -> int:
    """Load an interrupted run's state and return its step; 0 where there is none."""
    if not file.exists():
        return 0
    state = checkpoint.load(file)
    if state["recipe"] != asdict(recipe):
        raise CheckpointError(
            f"{file} is of a run with other settings; name another --out, or the same settings to resume."
        )
    going.network.load_state_dict(state["network"])
    if going.averaged is not None:
        going.averaged.load_state_dict(state["averaged"])
    going.optimizer.load_state_dict(state["optimizer"])
    say(f"resuming at step {state['step']}")
    return int(state["step"])
