"""Group softmax against the paper's formulas, computed another way."""

import itertools
import math

import numpy as np
import pytest
import torch

from training.grouping.groups import Grouping
from training.model.group_softmax import GroupHead, minimum_others_score
from training.model.network import Heads

pytestmark = pytest.mark.numeric

IMAGENET_SIZES = [398, 521, 9, 7, 52, 8, 3, 2]


def grouping(sizes: list[int], seed: int = 0) -> Grouping:
    """Groups of the given sizes over shuffled classes."""
    order = np.random.default_rng(seed).permutation(sum(sizes)).tolist()
    edges = np.cumsum([0, *sizes]).tolist()
    members = tuple(tuple(sorted(order[a:b])) for a, b in itertools.pairwise(edges))
    return Grouping(tuple(f"g{i}" for i in range(len(sizes))), members)


def slices(groups: Grouping) -> list[slice]:
    """Where each group's logits stand, others first."""
    edges = np.cumsum([0, *(len(group) + 1 for group in groups.members)]).tolist()
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def test_a_zero_head_on_imagenets_groups_starts_at_the_known_loss() -> None:
    """Sum over the eight groups of ln(size + 1) is 25.2811."""
    head = Heads(16, grouping(IMAGENET_SIZES)).group
    features, labels = torch.randn(5, 16), torch.tensor([0, 400, 999, 17, 650])
    assert head(features).shape == (5, 1008)
    assert head.losses(head(features), labels).mean().item() == pytest.approx(25.2811, abs=1e-4)


def test_only_the_papers_silence_starts_a_head_at_random() -> None:
    """D4: zeros as in the authors' code, or torch's own start."""
    groups = grouping([2, 1])
    zero, random = Heads(4, groups), Heads(4, groups, zero=False)
    assert not any(parameter.any() for parameter in zero.parameters())
    assert all(parameter.any() for parameter in random.parameters())


def test_the_loss_is_the_sum_over_groups_of_the_mean_cross_entropy() -> None:
    """Eq. 2, written with loops in float64."""
    groups = grouping([3, 1, 4, 2])
    head = GroupHead(8, groups)
    logits = 4 * torch.randn(7, groups.logit_count, dtype=torch.float64)
    labels = torch.tensor([0, 3, 9, 5, 5, 7, 1])
    total = 0.0
    for members, where in zip(groups.members, slices(groups), strict=True):
        for row, label in zip(logits[:, where].tolist(), labels.tolist(), strict=True):
            target = members.index(label) + 1 if label in members else 0
            total -= (row[target] - math.log(sum(map(math.exp, row)))) / len(labels)
    assert head.losses(logits, labels).mean().item() == pytest.approx(total, abs=1e-12)


def test_probabilities_are_the_group_softmax_with_others_in_the_denominator() -> None:
    """Eq. 1: each class's probability inside its group, in class order, and each group's others score."""
    groups = grouping([3, 1, 4, 2], seed=1)
    head = GroupHead(8, groups)
    logits = 4 * torch.randn(6, groups.logit_count, dtype=torch.float64)
    probabilities, others = head.probabilities(logits)
    for index, (members, where) in enumerate(zip(groups.members, slices(groups), strict=True)):
        expected = torch.softmax(logits[:, where], dim=1)
        torch.testing.assert_close(others[:, index], expected[:, 0])
        torch.testing.assert_close(probabilities[:, list(members)], expected[:, 1:])


def test_the_prediction_is_never_others() -> None:
    """Where others wins every group, the prediction is still the most probable class."""
    groups = grouping([2, 3])
    head = GroupHead(4, groups)
    logits = torch.zeros(1, groups.logit_count)
    logits[0, [0, 3]] = 20.0
    logits[0, 5] = 3.0  # second class of the second group
    assert head.probabilities(logits)[0].argmax().item() == groups.members[1][1]


def test_the_score_is_minus_the_smallest_others_score() -> None:
    """Eq. 3, and its sign: higher is in-distribution."""
    others = torch.tensor([[0.9, 0.2, 0.99], [1.0, 1.0, 0.97]])
    torch.testing.assert_close(minimum_others_score(others), torch.tensor([-0.2, -0.97]))
