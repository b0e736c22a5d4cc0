"""Group softmax against the paper's formulas, computed another way."""

import itertools
import math

import numpy as np
import pytest
import torch

from training.grouping.groups import Grouping
from training.model.group_softmax import FOREIGN, GroupHead, minimum_others_score
from training.model.network import Heads, flat_losses

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


def test_a_foreign_picture_costs_the_others_of_every_group() -> None:
    """Its loss is the sum over groups of -log p(others)."""
    groups = grouping([2, 3, 1])
    head = GroupHead(4, groups)
    logits = torch.randn(1, 9, dtype=torch.float64)
    expected = sum(-logits[0, part].softmax(dim=0)[0].log().item() for part in slices(groups))
    assert head.losses(logits, torch.tensor([FOREIGN])).item() == pytest.approx(expected, abs=1e-12)


def test_a_soft_target_costs_what_its_classes_cost_on_average() -> None:
    """With probabilities over classes the loss is the mean of the classes' own losses."""
    head = GroupHead(4, grouping([2, 3, 1]))
    logits = torch.randn(1, 9, dtype=torch.float64)
    probabilities = torch.rand(1, 6, dtype=torch.float64)
    probabilities /= probabilities.sum()
    each = head.losses(logits.expand(6, -1), torch.arange(6))
    expected = float((probabilities[0] * each).sum())
    assert head.soft_losses(logits, probabilities).item() == pytest.approx(expected, abs=1e-12)


def test_the_flat_head_of_a_foreign_picture_is_drawn_to_the_uniform_distribution() -> None:
    """Cross-entropy against 1 / C for every class; labelled pictures keep theirs."""
    logits = torch.randn(3, 5, dtype=torch.float64)
    losses = flat_losses(logits, torch.tensor([4, FOREIGN, 0]))
    logs = logits.log_softmax(dim=1)
    expected = [-logs[0, 4], -logs[1].mean(), -logs[2, 0]]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_a_teachers_answer_is_softened_and_weighed_back() -> None:
    """Both sides are divided by the temperature, and the loss is multiplied by its square."""
    heads = Heads(4, grouping([2, 3]), zero=False)
    features, teacher = torch.randn(2, 4), torch.randn(2, 5)
    target = (teacher / 2).softmax(dim=1)
    with torch.no_grad():
        flat = -(target * (heads.flat(features) / 2).log_softmax(dim=1)).sum(dim=1)
        group = heads.group.soft_losses(heads.group(features) / 2, target)
        losses = heads.soft_losses(features, teacher, 2.0, flat_weight=1.0, group_weight=0.5)
    torch.testing.assert_close(losses, 4 * (flat + 0.5 * group), rtol=1e-4, atol=1e-5)
