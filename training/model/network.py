"""The network that is trained: a backbone with a flat-softmax head and a group-softmax head on the same features.

The group head is what is served. The flat head is the paper's baseline: MSP, Energy and the others are read off it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.grouping.groups import Grouping
from training.model.backbone import Backbone, FeatureExtractor
from training.model.group_softmax import FOREIGN, GroupHead


class Heads(nn.Module):
    """Both heads on (N, D) features."""

    def __init__(self, feature_size: int, grouping: Grouping, *, zero: bool = True) -> None:
        super().__init__()
        self.flat = nn.Linear(feature_size, grouping.class_count)
        self.group = GroupHead(feature_size, grouping)
        if zero:
            # As BiT heads start, so that the first group loss is the sum over groups of ln(group size + 1).
            for head in (self.flat, self.group.linear):
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)

    def close_unused(self, *, flat: bool, group: bool) -> None:
        """Leave a head whose loss has no weight as it is."""
        self.flat.requires_grad_(flat)
        self.group.requires_grad_(group)

    def losses(self, features: Tensor, labels: Tensor, *, flat_weight: float, group_weight: float) -> Tensor:
        """Weighted sum of the flat cross-entropy and the group-softmax loss of each picture, (N,), in float32.

        The target of a picture labelled `FOREIGN` is the uniform distribution for the flat head (outlier exposure,
        Hendrycks et al., 2019) and *others* in every group.
        """
        features = features.float()
        total = torch.zeros(len(features), device=features.device)
        if flat_weight:
            total = total + flat_weight * flat_losses(self.flat(features), labels)
        if group_weight:
            total = total + group_weight * self.group.losses(self.group(features), labels)
        return total

    def soft_losses(
        self, features: Tensor, teacher: Tensor, temperature: float, *, flat_weight: float, group_weight: float
    ) -> Tensor:
        """The same against a teacher's flat logits (N, C), all softened by a temperature (Hinton et al., 2015)."""
        features = features.float()
        target = nn.functional.softmax(teacher.float() / temperature, dim=1)
        total = torch.zeros(len(features), device=features.device)
        if flat_weight:
            flat = self.flat(features) / temperature
            total = total + flat_weight * nn.functional.cross_entropy(flat, target, reduction="none")
        if group_weight:
            total = total + group_weight * self.group.soft_losses(self.group(features) / temperature, target)
        return total * temperature**2


def flat_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each picture, (N,), of flat logits (N, C) against its label, or the uniform distribution."""
    chosen = logits.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return logits.logsumexp(dim=1) - torch.where(labels == FOREIGN, logits.mean(dim=1), chosen)


class Network(Heads):
    """The heads with what makes their features: uint8 (N, H, W, 3) pictures -> (N, D) features."""

    def __init__(self, backbone: FeatureExtractor, grouping: Grouping, *, zero_heads: bool = True) -> None:
        super().__init__(backbone.feature_size, grouping, zero=zero_heads)
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return self.backbone.features(images)

    @property
    def differentiable(self) -> Backbone:
        """The backbone, for what takes gradients through it."""
        assert isinstance(self.backbone, Backbone), "a graph gives no gradients. This is a bug."
        return self.backbone
