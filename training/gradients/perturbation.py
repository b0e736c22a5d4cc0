"""ODIN's second pass: flat logits of pictures that were moved a step towards more confidence (Liang et al., 2018).

The step is taken in normalised pixel space, [-1, 1]: x - epsilon * sign(gradient of the cross-entropy against the
predicted class at temperature T), where the sign of 0 is +1, as in the MOS authors' code. `training.detectors.odin`
scores what comes out.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.detectors.odin import TEMPERATURE
from training.model.network import Network
from training.reproduction import Source

PUBLISHED_EPSILON = 0.0014
"""ODIN's choice for its main setting."""
EPSILONS = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
"""The magnitudes that Generalized ODIN (Hsu et al., 2020) searches."""
BATCH_SIZE = 64


def epsilon(source: Source, network: Network, held_out: NDArray[np.uint8]) -> float:
    """The step of `paper`, `official` or `corrected`; only the last looks at the held-out pictures (N, H, W, 3)."""
    if source == "official":
        return 0.0
    if source == "paper":
        return PUBLISHED_EPSILON
    return choose_epsilon(network, held_out)


def choose_epsilon(network: Network, held_out: NDArray[np.uint8]) -> float:
    """The magnitude that makes in-distribution pictures most confident: no OOD picture is needed.

    Generalized ODIN's rule: the largest mean over held-out pictures (N, H, W, 3) of the score after the step.
    """

    def confidence(magnitude: float) -> float:
        logits = perturbed_logits(network, held_out, epsilon=magnitude).astype(np.float64)
        return float(torch.softmax(torch.from_numpy(logits) / TEMPERATURE, dim=1).amax(dim=1).mean())

    return max(EPSILONS, key=confidence)


def perturbed_logits(
    network: Network, pixels: NDArray[np.uint8], *, epsilon: float, temperature: float = TEMPERATURE
) -> NDArray[np.float32]:
    """uint8 (N, H, W, 3) -> flat logits (N, C) after the step; an epsilon of 0 costs one plain pass."""
    parts = [
        _batch(
            network, torch.from_numpy(np.ascontiguousarray(pixels[start : start + BATCH_SIZE])), epsilon, temperature
        )
        for start in range(0, len(pixels), BATCH_SIZE)
    ]
    return cast("NDArray[np.float32]", torch.cat(parts).numpy())


def _batch(network: Network, pixels: Tensor, epsilon: float, temperature: float) -> Tensor:
    backbone = network.differentiable
    images = backbone.normalise(pixels.to(network.flat.weight.device))
    if epsilon:
        images.requires_grad_()
        logits = network.flat(backbone(images))
        loss = F.cross_entropy(logits / temperature, logits.argmax(dim=1), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images)
        images = step(images.detach(), gradient, epsilon)
    with torch.no_grad():
        moved: Tensor = network.flat(backbone(images))
    return moved.cpu()


def step(images: Tensor, gradient: Tensor, epsilon: float) -> Tensor:
    """`images` - epsilon * sign(gradient), where the sign of 0 is +1."""
    return images - epsilon * torch.where(gradient >= 0, 1.0, -1.0)
