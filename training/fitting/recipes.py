"""Recipes: every number of a fit.

`one_cycle` is for fitting a network on pictures, `heads` for heads on the features of a frozen backbone, and `paper`
is the paper's fine-tuning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from training.fitting import hyperrule
from training.reproduction import Settings


@dataclass(frozen=True)
class Recipe:
    """How to fit. One epoch is one pass over the pictures (or features)."""

    batch_size: int
    learning_rate: float
    weight_decay: float
    epochs: int | None = None  # of a one-cycle schedule
    supports: tuple[int, ...] | None = None  # of a BiT-HyperRule schedule, instead of epochs
    flat_weight: float = 1.0
    group_weight: float = 1.0
    backbone_rate: float = 1.0  # the backbone's learning rate as a share of the heads'
    momentum: float = 0.9
    nesterov: bool = False
    warm_up: float = 0.15  # share of a one-cycle schedule's steps
    average_decay: float = 0.0  # of the exponential average of the weights, which is kept; 0 keeps the last weights
    mixup_alpha: float = 0.0
    augmentation: str = "standard"  # of `training.data.augment.AUGMENTATIONS`
    micro_batch: int | None = None  # pictures a forward pass; a batch is split into parts of this size
    steps_after_split: bool = True  # False repeats B1: once a batch is split, the optimiser never steps
    outlier_share: float = 0.5  # foreign pictures a step, as a share of the batch size
    outlier_weight: float = 0.5  # of their mean loss
    teacher_weight: float = 0.0  # of a teacher's loss on the pictures of the classes; the labels have the rest
    temperature: float = 2.0  # of that loss
    bf16: bool = False
    compile: bool = False  # the network by torch.compile
    seed: int = 0

    def __post_init__(self) -> None:
        # What a checkpoint gives back is a list.
        if self.supports is not None:
            object.__setattr__(self, "supports", tuple(self.supports))

    @property
    def outliers_a_step(self) -> int:
        """Foreign pictures in a batch of a run that has some."""
        return max(1, round(self.outlier_share * self.batch_size))

    def steps(self, pictures: int) -> int:
        """Optimiser steps over a number of pictures."""
        return self.supports[-1] if self.supports else (self.epochs or 1) * self.steps_per_epoch(pictures)

    def steps_per_epoch(self, pictures: int) -> int:
        """A shorter last batch of an epoch is dropped, unless it is the only one."""
        return max(1, pictures // self.batch_size)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """BiT-HyperRule's rate, or linear warm-up from nearly zero and then half a cosine to zero."""
        if self.supports:
            return hyperrule.learning_rate(step, self.supports, self.learning_rate)
        position = (step + 1) / steps
        if position < self.warm_up:
            return self.learning_rate * position / self.warm_up
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (position - self.warm_up) / (1 - self.warm_up)))


def one_cycle(
    *,
    epochs: int = 40,
    batch_size: int = 128,
    learning_rate: float = 0.12,
    weight_decay: float = 5e-4,
    augmentation: str = "standard",
    flat_weight: float = 1.0,
    group_weight: float = 1.0,
    backbone_rate: float = 1.0,
    outlier_share: float = 0.5,
    outlier_weight: float = 0.5,
    teacher_weight: float = 0.0,
    micro_batch: int | None = None,
    bf16: bool = False,
    compile: bool = False,
    seed: int = 0,
) -> Recipe:
    """SGD with Nesterov momentum over a one-cycle schedule, and the average of the weights is kept."""
    return Recipe(
        batch_size,
        learning_rate,
        weight_decay,
        epochs=epochs,
        augmentation=augmentation,
        flat_weight=flat_weight,
        group_weight=group_weight,
        backbone_rate=backbone_rate,
        nesterov=True,
        average_decay=0.998,
        outlier_share=outlier_share,
        outlier_weight=outlier_weight,
        teacher_weight=teacher_weight,
        micro_batch=micro_batch,
        bf16=bf16,
        compile=compile,
        seed=seed,
    )


HEADS_STEPS = 1_000
HEADS_EPOCHS = 10  # at least


def heads(pictures: int, **changes: Any) -> Recipe:
    """Heads on features of a number of pictures: as many steps for few pictures as for many.

    `changes` are those that `one_cycle` takes. Features go in as they are: centred or scaled ones gave larger logits
    to strangers.
    """
    batch_size = changes.get("batch_size", 128)
    epochs = max(HEADS_EPOCHS, math.ceil(HEADS_STEPS * batch_size / max(1, pictures)))
    chosen = {"epochs": epochs, "learning_rate": 0.1, "weight_decay": 1e-4, "outlier_weight": 0.2} | changes
    return replace(one_cycle(**chosen), warm_up=0.05)


def paper(
    pictures: int,
    settings: Settings,
    *,
    micro_batch: int | None = None,
    flat_weight: float = 1.0,
    group_weight: float = 1.0,
    bf16: bool = False,
    compile: bool = False,
    seed: int = 0,
) -> Recipe:
    """The paper's fine-tuning (§4.1, "Training Details") of a number of pictures; BiT-HyperRule with SGD."""
    return Recipe(
        hyperrule.BATCH_SIZE,
        hyperrule.BASE_LEARNING_RATE,
        weight_decay=0.0,
        supports=hyperrule.PAPER_SCHEDULE if settings.schedule == "paper" else hyperrule.schedule(pictures),
        flat_weight=flat_weight,
        group_weight=group_weight,
        momentum=hyperrule.MOMENTUM,
        mixup_alpha=0.0 if settings.mixup == "paper" else hyperrule.mixup_alpha(pictures),
        augmentation="none" if settings.flip == "paper" else "flip",
        micro_batch=micro_batch,
        steps_after_split=settings.accumulation != "official",
        bf16=bf16,
        compile=compile,
        seed=seed,
    )
