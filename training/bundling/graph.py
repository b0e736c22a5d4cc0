"""What is served: a network as one graph with MOS and the statistic that decides computed in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.decision.statistic import Statistic
from training.errors import ExportError
from training.model.group_softmax import GroupHead, minimum_others_score
from training.model.network import Network
from training.model.onnx_graph import chain, to_onnx

OUTPUTS = (
    "class_index",
    "class_probability",
    "topk_index",
    "topk_probability",
    "others_scores",
    "mos",
    "score",
    "logits",
    "features",
)
TOP_K = 5
TOLERANCE = 1e-4
"""Largest difference allowed between torch and ONNX Runtime on probabilities and MOS, float32 against float32."""
SCORE_TOLERANCE = 1e-3
"""Of a statistic that is joined from others, in their deviations on in-distribution pictures."""


class Judgement(nn.Module):
    """Features (N, D) -> all of `OUTPUTS` but the features."""

    def __init__(self, group: GroupHead, statistic: Statistic | None = None) -> None:
        super().__init__()
        self.group = group
        self.statistic = statistic  # None where MOS decides
        self.k = min(TOP_K, len(group.class_group))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        logits = self.group(features)
        probabilities, others = self.group.probabilities(logits)
        topk_probability, topk_index = probabilities.topk(self.k, dim=1)
        mos = minimum_others_score(others)
        score = mos if self.statistic is None else self.statistic(features, logits)
        # The class is the first of the top k, so that the two can never disagree on a tie.
        return topk_index[:, 0], topk_probability[:, 0], topk_index, topk_probability, others, mos, score, logits


class Guard(nn.Module):
    """What is served: uint8 (N, H, W, 3) -> `OUTPUTS`."""

    def __init__(self, network: Network, statistic: Statistic | None = None) -> None:
        super().__init__()
        self.network = network
        self.judgement = Judgement(network.group, statistic)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        features = self.network(images)
        return (*self.judgement(features), features)

    def to_onnx(self, side: int) -> bytes:
        """One file: the backbone's own graph, and what is judged of its features behind it."""
        example = torch.zeros(2, self.network.backbone.feature_size)
        judged = to_onnx(self.judgement, {"features": example}, OUTPUTS[:-1])
        return chain(self.network.backbone.to_onnx(side), judged, OUTPUTS)


def check_parity(guard: Guard, pixels: NDArray[np.uint8], rows: dict[str, NDArray[Any]]) -> None:
    """Raise ExportError where ONNX Runtime's probabilities or scores differ from torch's by more than is allowed."""
    with torch.no_grad():
        expected = dict(zip(OUTPUTS, guard(torch.from_numpy(pixels)), strict=True))
    of_score = TOLERANCE if guard.judgement.statistic is None else SCORE_TOLERANCE
    allowed = {"class_probability": TOLERANCE, "others_scores": TOLERANCE, "mos": TOLERANCE, "score": of_score}
    for name, tolerance in allowed.items():
        difference = float(np.abs(rows[name] - expected[name].numpy()).max())
        if not difference <= tolerance:
            raise ExportError(
                f"ONNX Runtime's {name} differs from torch's by {difference:.2g}, more than {tolerance:g}; "
                "do not serve this model, and check the versions of torch, onnx and onnxruntime."
            )
