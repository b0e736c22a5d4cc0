"""Group softmax: the head, its loss, its prediction and the Minimum Others Score (paper §3.1, §3.2).

Logit layout: groups in order, contiguous; inside a group index 0 is *others*, then the group's classes in order.
Legend: N batch, D features, C classes, K groups, M = largest group size + 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.grouping.groups import Grouping

FOREIGN = -1
"""The label of a picture that is of none of the classes."""


class GroupHead(nn.Module):
    """(N, D) features -> (N, C + K) logits, and all that is read off them."""

    logit_index: Tensor
    padding: Tensor
    targets: Tensor
    class_group: Tensor
    class_position: Tensor

    def __init__(self, feature_size: int, grouping: Grouping) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_size, grouping.logit_count)
        tables = grouping.tables()
        # Groups padded to one width make every group's softmax one operation, whatever K is.
        self.register_buffer("logit_index", torch.from_numpy(tables.logit_index), persistent=False)  # (K, M)
        self.register_buffer("padding", torch.from_numpy(tables.padding), persistent=False)  # (K, M)
        # Where the logit of each class's label in each group stands, (C + 1, K). The last row is a foreign picture's,
        # which is *others* in every group: `FOREIGN` picks it.
        others = torch.from_numpy(tables.logit_index[:, 0])
        targets = torch.cat([others + torch.from_numpy(tables.targets), others[None]])
        self.register_buffer("targets", targets, persistent=False)
        self.sizes = [len(classes) + 1 for classes in grouping.members]
        self.register_buffer("class_group", torch.from_numpy(tables.class_group), persistent=False)  # (C,)
        self.register_buffer("class_position", torch.from_numpy(tables.class_position), persistent=False)  # (C,)

    def forward(self, features: Tensor) -> Tensor:  # noqa: D102
        logits: Tensor = self.linear(features)
        return logits

    def by_group(self, logits: Tensor) -> Tensor:
        """(N, C + K) -> (N, K, M), padded with minus infinity; [:, :, 0] are the *others* logits."""
        padded = logits.index_select(1, self.logit_index.flatten()).view(-1, *self.logit_index.shape)
        return padded.masked_fill(self.padding, -torch.inf)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Each picture's sum over groups of the cross-entropy, (N,), whose mean is the paper's Eq. 2.

        `labels` are class indices (N,) or `FOREIGN`.
        """
        chosen = logits.gather(1, self.targets[labels])  # (N, K)
        return self._normalisers(logits) - chosen.sum(dim=1)

    def soft_losses(self, logits: Tensor, probabilities: Tensor) -> Tensor:
        """The same where each picture is of each class with some probability (N, C): what all draws would cost."""
        expected = torch.zeros_like(logits)  # how often each logit would be the target
        for group in range(len(self.sizes)):
            expected.index_add_(1, self.targets[:-1, group], probabilities)
        return self._normalisers(logits) - (expected * logits).sum(dim=1)

    def _normalisers(self, logits: Tensor) -> Tensor:
        """Sum over groups of the log of the softmax's denominator, (N,)."""
        # Slice by slice and not padded: groups may differ a hundredfold in size.
        normalisers = [group.logsumexp(dim=1) for group in torch.split(logits, self.sizes, dim=1)]
        return torch.stack(normalisers, dim=1).sum(dim=1)

    def probabilities(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities (N, C), *others* in each denominator, and *others* scores (N, K) (paper Eq. 1)."""
        by_group = F.softmax(self.by_group(logits), dim=2)
        position = self.class_group * by_group.shape[2] + self.class_position
        return by_group.flatten(1).index_select(1, position), by_group[:, :, 0]


def minimum_others_score(others: Tensor) -> Tensor:
    """*Others* scores (N, K) -> score (N,) in [-1, 0], higher = in-distribution (paper Eq. 3)."""
    return -others.amin(dim=1)
