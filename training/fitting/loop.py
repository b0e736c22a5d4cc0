"""Fitting: the open part of a network on pictures, or its heads on the features of a frozen backbone.

The loop counts steps. Everything drawn by chance is a function of (seed, step), and a checkpoint holds the rest, so
that an interrupted run that is resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from training.distributed import device, rank, world_size
from training.errors import CheckpointError, SettingError
from training.fitting import checkpoint
from training.fitting.batches import Batch, Batches
from training.fitting.recipes import Recipe
from training.fitting.teacher import Teacher
from training.model.group_softmax import FOREIGN
from training.model.network import Heads
from training.progress import say, track

Tensors = tuple[Tensor, ...] | list[Tensor]
Model = TypeVar("Model", bound=Heads)

CHECKPOINT_NAME = "checkpoint.pt"
CHECKPOINT_EVERY_SECONDS = 600.0
SHORT_EPOCH_SECONDS = 0.5
REPORT_EVERY_EPOCHS = 5


class Objective(nn.Module):
    """The loss of some inputs, as one module, so that several processes can average its gradients."""

    def __init__(self, network: Heads, recipe: Recipe, teacher: Teacher | None = None, *, on_features: bool) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.on_features = on_features
        self._teacher = (teacher,)  # in a tuple, so that its weights are not this module's

    def forward(  # noqa: D102
        self, inputs: Tensor, labels: Tensor, partner_labels: Tensor, weights: Tensor, lam: float
    ) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            features = inputs if self.on_features else self.network(inputs)
        losses = self._losses(features, labels)
        if lam != 1.0:
            losses = lam * losses + (1 - lam) * self._losses(features, partner_labels)
        (teacher,) = self._teacher
        if teacher is not None:
            losses = self._taught(losses, teacher, inputs, features, labels)
        return (weights * losses).mean()

    def _losses(self, features: Tensor, labels: Tensor) -> Tensor:
        return self.network.losses(features, labels, **self._head_weights)

    def _taught(self, losses: Tensor, teacher: Teacher, inputs: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """Losses (N,) drawn towards the teacher's on the pictures of the classes, which alone it knows."""
        known = labels != FOREIGN
        soft = self.network.soft_losses(
            features[known], teacher.logits(inputs[known]), self.recipe.temperature, **self._head_weights
        )
        weight = self.recipe.teacher_weight
        return losses.index_put((known,), (1 - weight) * losses[known] + weight * soft)

    @property
    def _head_weights(self) -> dict[str, float]:
        return {"flat_weight": self.recipe.flat_weight, "group_weight": self.recipe.group_weight}


@dataclass
class State(Generic[Model]):
    """What changes while fitting, and what a checkpoint holds."""

    network: Model
    averaged: AveragedModel | None
    optimizer: torch.optim.Optimizer

    @property
    def kept(self) -> Model:
        """The network that a run keeps: the average of the weights where the recipe asks for one."""
        return self.network if self.averaged is None else self.averaged.module  # type: ignore[return-value]

    def content(self) -> dict[str, object]:
        """Everything that the next step depends on."""
        parts = {"network": self.network, "averaged": self.averaged, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}

    def restore(self, content: Mapping[str, Any]) -> None:
        """Take over what `content` gave."""
        self.network.load_state_dict(content["network"])
        if self.averaged is not None:
            self.averaged.load_state_dict(content["averaged"])
        self.optimizer.load_state_dict(content["optimizer"])


def fit(
    network: Model,
    batches: Batches,
    recipe: Recipe,
    run: Path,
    report: Callable[[Model], str],
    *,
    teacher: Teacher | None = None,
    on_features: bool = False,
) -> Model:
    """Fit every parameter of `network` that requires a gradient; resumes from `run` and returns what is kept.

    With `on_features` the batches hold (n, D) features of a frozen backbone, and the heads alone are fitted. `report`
    is a line on the network as it is, for the log; `teacher` is whom the recipe's `teacher_weight` listens to.
    """
    _check(batches, recipe)
    _place(network, recipe)
    state = _start(network, recipe)
    first = _resume(run / CHECKPOINT_NAME, recipe, state)
    objective: nn.Module = Objective(network, recipe, teacher, on_features=on_features)
    if world_size() > 1:
        objective = DistributedDataParallel(objective, forward_sync_buffers=False)  # buffers are constants
    log = _Log(batches, report)
    saved = time.monotonic()
    stream = batches.stream(first)
    for step, batch in track(stream, batches.steps - first, "step") if rank() == 0 else stream:
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step, batches.steps) * group["share"]
        log.add(take_step(objective, batch, recipe, state.optimizer))
        if state.averaged is not None:
            state.averaged.update_parameters(network)
        done = step + 1 == batches.steps
        ended = done or (step + 1) % batches.per_epoch == 0
        # Epochs of a step or two are not worth a file each.
        due = SHORT_EPOCH_SECONDS if ended else CHECKPOINT_EVERY_SECONDS
        if rank() == 0 and (done or time.monotonic() - saved >= due):
            checkpoint.save({"step": step + 1, "recipe": asdict(recipe), **state.content()}, run / CHECKPOINT_NAME)
            saved = time.monotonic()
        if rank() == 0 and ended:
            log.epoch_ended(step + 1, state.kept)
    return state.kept.cpu()


def take_step(objective: nn.Module, batch: Batch, recipe: Recipe, optimizer: torch.optim.Optimizer) -> Tensor:
    """One optimiser step over this process's share of a batch, in parts of `recipe.micro_batch`; returns its loss.

    Parts and shares are weighted by their size, so the gradient is that of the whole batch at once.
    """
    optimizer.zero_grad()
    inputs, labels, weights = (
        tensor.to(device(), non_blocking=True) for tensor in (batch.inputs, batch.labels, batch.weights)
    )
    count = len(labels)
    size = recipe.micro_batch or max(1, count)
    parts = [slice(start, start + size) for start in range(0, count, size)]
    loss = torch.zeros((), device=device())
    for part in parts:
        partner = batch.partner[part]
        mixed = inputs[part] if batch.lam == 1.0 else mixup(inputs[part], inputs[partner], batch.lam)
        last = part is parts[-1]
        waiting = objective.no_sync if isinstance(objective, DistributedDataParallel) and not last else nullcontext
        with waiting():
            mean = objective(mixed, labels[part], labels[partner], weights[part], batch.lam)
            (mean * (len(mixed) * world_size() / batch.size)).backward()
        loss += mean.detach() * len(mixed) / count
    if len(parts) == 1 or recipe.steps_after_split:
        optimizer.step()
    return loss


def mixup(inputs: Tensor, partners: Tensor, lam: float) -> Tensor:
    """lam * inputs + (1 - lam) * partners, in float32 ("mixup", Zhang et al., 2018)."""
    return inputs.float().lerp(partners.float(), 1 - lam)


def _check(batches: Batches, recipe: Recipe) -> None:
    if not len(batches.share(batches.size)):
        raise SettingError(f"Batches of {batches.size} cannot be shared by {world_size()} processes; make them larger.")
    if not (recipe.flat_weight or recipe.group_weight):
        raise SettingError("Both losses have no weight; give --flat-weight or --group-weight.")


def _place(network: Heads, recipe: Recipe) -> None:
    """Onto the device, in the layout that its convolutions are fastest in, compiled where the recipe says so."""
    network.to(device())
    if device().type == "cuda":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.close_unused(flat=recipe.flat_weight > 0, group=recipe.group_weight > 0)
    if recipe.compile:
        network.compile()


def _start(network: Model, recipe: Recipe) -> State[Model]:
    optimizer = torch.optim.SGD(
        _parameter_groups(network, recipe.backbone_rate),
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
    averaged = None
    if recipe.average_decay:
        averaged = AveragedModel(network, multi_avg_fn=_exponential_average(recipe.average_decay))
    return State(network, averaged, optimizer)


def _parameter_groups(network: Heads, backbone_rate: float) -> list[dict[str, Any]]:
    """What is fitted of the heads and of the backbone, each with its share of the learning rate."""
    fitted = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    of_backbone = [parameter for name, parameter in fitted if name.startswith("backbone.")]
    of_heads = [parameter for name, parameter in fitted if not name.startswith("backbone.")]
    groups = [{"params": of_heads, "share": 1.0}, {"params": of_backbone, "share": backbone_rate}]
    return [group for group in groups if group["params"]]


def _exponential_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An average that forgets faster in its first steps, so that short runs do not keep their random start."""

    def update(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(averaged, current, 1 - kept)

    return update


class _Log(Generic[Model]):
    """Says how each epoch went; epochs that end within a moment share a line."""

    def __init__(self, batches: Batches, report: Callable[[Model], str]) -> None:
        self._batches = batches
        self._report = report
        self._begin()

    def _begin(self) -> None:
        self._started, self._steps = time.monotonic(), 0
        self._loss = torch.zeros((), device=device())

    def add(self, loss: Tensor) -> None:
        self._loss, self._steps = self._loss + loss, self._steps + 1

    def epoch_ended(self, steps: int, kept: Model) -> None:
        """`steps` have been taken since the first of all."""
        seconds, done = time.monotonic() - self._started, steps == self._batches.steps
        if not done and seconds < SHORT_EPOCH_SECONDS:
            return
        epoch, epochs = steps // self._batches.per_epoch, self._batches.steps // self._batches.per_epoch
        report = self._report(kept) if done or epoch % REPORT_EVERY_EPOCHS == 0 else ""
        loss = float(self._loss) / self._steps
        say(f"epoch {epoch:3d} of {epochs}  loss {loss:.4f}  {seconds:.0f} s  {report}".rstrip())
        self._begin()


def _resume(file: Path, recipe: Recipe, state: State[Model]) -> int:
    """Load an interrupted run's state and return its step; 0 where there is none."""
    if not file.exists():
        return 0
    content = checkpoint.load(file)
    if content["recipe"] != asdict(recipe):
        raise CheckpointError(
            f"{file} is of a run with other settings; name another --out, or the same settings to resume."
        )
    state.restore(content)
    say(f"resuming at step {content['step']}")
    return int(content["step"])
