"""The parts of a deciding statistic: features (N, D) and logits (N, C + K) -> (N,), higher = in-distribution.

Each is a module, because it is exported. What a part learns from training pictures is a buffer, rounded to float16 as
it will be stored.

`Knn`, `Residual` and `Cosine` read features of length 1, which spares them how bright or blurred a picture is.

Legend: N batch, C classes, K groups, D features, M pictures of a bank, R principal directions.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.group_softmax import GroupHead

BANK_SIZE = 2_000  # pictures
NEIGHBOURS = 5
DIRECTIONS = 128
SMALLEST_NORM = 1e-6


class Part(nn.Module):
    """One statistic of a picture: features (N, D) and logits (N, C + K) -> (N,)."""

    name: str  # of `service.bundle.KNOWN_PARTS`

    @property
    def described(self) -> dict[str, int]:
        """What the bundle says of it beside its name."""
        return {}


class Mos(Part):
    """MOS as log-odds: max over groups of logsumexp(class logits) - *others* logit.

    The ranking of -min p(others), without its ties where float32 rounds p to 0 or 1.
    """

    name = "mos"
    logit_index: Tensor
    padding: Tensor

    def __init__(self, head: GroupHead) -> None:
        super().__init__()
        # Padded and not group by group: a node of the graph costs more than the numbers that it is given in vain.
        self.register_buffer("logit_index", head.logit_index, persistent=False)  # (K, M)
        self.register_buffer("padding", head.padding, persistent=False)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: D102
        groups = logits[:, self.logit_index].masked_fill(self.padding, -torch.inf)  # (N, K, M)
        return (groups[:, :, 1:].logsumexp(dim=2) - groups[:, :, 0]).amax(dim=1)


class Logit(Part):
    """The largest class logit, before any softmax: an unseen class of a known group lights no class up."""

    name = "logit"
    of_classes: Tensor

    def __init__(self, head: GroupHead) -> None:
        super().__init__()
        # Where the logits of classes stand: all but each group's first.
        starts = np.cumsum([0, *head.sizes[:-1]])
        places = np.setdiff1d(np.arange(sum(head.sizes)), starts)
        self.register_buffer("of_classes", torch.from_numpy(places), persistent=False)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: D102
        return logits[:, self.of_classes].amax(dim=1)


class Knn(Part):
    """Minus the distance to the k-th nearest training feature on the unit sphere (Sun et al., 2022)."""

    name = "knn"
    bank: Tensor

    def __init__(self, bank: Tensor, k: int) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("bank", unit(bank).half().float())  # (M, D)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: D102
        cosines = unit(features) @ self.bank.T
        kth = cosines.topk(self.k, dim=1).values[:, -1]
        return -(2 - 2 * kth).clamp(min=0).sqrt()

    @property
    def described(self) -> dict[str, int]:  # noqa: D102
        return {"k": self.k, "bank": len(self.bank), "dimensions": self.bank.shape[1]}


class Residual(Part):
    """Minus the length of what training features' principal directions leave of a feature (ViM, Wang et al., 2022)."""

    name = "residual"
    centre: Tensor
    directions: Tensor

    def __init__(self, fitted: Tensor) -> None:
        super().__init__()
        rows = unit(fitted).double()
        centre = rows.mean(dim=0)
        count = min(DIRECTIONS, len(rows) // 2, rows.shape[1] // 2)
        centred = rows - centre
        _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
        self.register_buffer("centre", centre.float())  # (D,)
        self.register_buffer("directions", vectors[:, rows.shape[1] - count :].half().float())  # (D, R)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: D102
        rows = unit(features) - self.centre
        inside = rows @ self.directions
        return -(rows.square().sum(dim=1) - inside.square().sum(dim=1)).clamp(min=0).sqrt()

    @property
    def described(self) -> dict[str, int]:  # noqa: D102
        return {"directions": self.directions.shape[1]}


class Cosine(Part):
    """The largest cosine with a class mean, both less the mean of all features."""

    name = "cosine"
    centre: Tensor
    means: Tensor

    def __init__(self, fitted: Tensor, labels: Tensor) -> None:
        super().__init__()
        rows = unit(fitted).double()
        centre = rows.mean(dim=0)
        means = torch.stack([rows[labels == label].mean(dim=0) for label in torch.unique(labels)])
        self.register_buffer("centre", centre.float())  # (D,)
        self.register_buffer("means", unit(means - centre).half().float())  # (C, D)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: D102
        return (unit(unit(features) - self.centre) @ self.means.T).amax(dim=1)


def unit(rows: Tensor) -> Tensor:
    """Rows (n, D) scaled to length 1."""
    return F.normalize(rows, dim=1, eps=SMALLEST_NORM)


def bank_rows(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """The rows of a bank of at most `size` pictures: as many of each class as there are, drawn by chance, (M,)."""
    generator = np.random.default_rng(seed)
    members = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    # Every class's first picture, then every second one, and so on until the bank is full.
    turns = np.concatenate([np.arange(len(rows)) for rows in members])
    order = np.argsort(turns, kind="stable")[:size]
    return np.sort(np.concatenate(members)[order])
