"""The network that is trained: a backbone with a flat-softmax head and a group-softmax head on the same features.

The group head is what is served. The flat head is the paper's baseline: MSP, Energy and the others are read off it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.grouping.groups import Grouping
from training.model.backbone import Backbone
from training.model.group_softmax import GroupHead


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

    def loss(self, features: Tensor, labels: Tensor, *, flat_weight: float, group_weight: float) -> Tensor:
        """Weighted sum of the flat cross-entropy and the group-softmax loss, in float32."""
        features = features.float()
        total = torch.zeros((), device=features.device)
        if flat_weight:
            total = total + flat_weight * nn.functional.cross_entropy(self.flat(features), labels)
        if group_weight:
            total = total + group_weight * self.group.loss(self.group(features), labels)
        return total


class Network(Heads):
    """The heads with the backbone that makes their features: uint8 (N, H, W, 3) pictures -> (N, D) features."""

    def __init__(self, backbone: Backbone, grouping: Grouping, *, zero_heads: bool = True) -> None:
        super().__init__(backbone.feature_size, grouping, zero=zero_heads)
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        features: Tensor = self.backbone(self.backbone.normalise(images))
        return features
