"""A larger network that a small one learns from beside its labels, on the same pictures (Hinton et al., 2015).

What the teacher knows shows in how it ranks the wrong classes; so it must see the very picture that its pupil sees, at
its own size (Beyer et al., 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from training.distributed import device
from training.errors import SettingError
from training.fitting.run import load_run
from training.model.network import Network


@dataclass(frozen=True)
class Teacher:
    """A finished network and the side of the pictures that it takes."""

    network: Network
    side: int

    def logits(self, images: Tensor) -> Tensor:
        """Flat logits (N, C) of uint8 or mixed float pictures (N, h, w, 3), brought to the teacher's size."""
        planes = images.permute(0, 3, 1, 2).float()
        if planes.shape[2] != self.side:
            planes = F.interpolate(
                planes, (self.side, self.side), mode="bilinear", antialias=self.side < planes.shape[2]
            )
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.network.flat(self.network(planes.permute(0, 2, 3, 1)))
        return logits.float()


def read_teacher(run: Path, classes: Sequence[str]) -> Teacher:
    """The network of a finished run. Raises SettingError where it knows other classes."""
    finished = load_run(run)
    if finished.classes != tuple(classes):
        raise SettingError(f"The teacher in {run} knows other classes; name a run on the same data set.")
    return Teacher(finished.network.requires_grad_(False).to(device()).eval(), finished.config.size)
