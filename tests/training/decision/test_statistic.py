"""What decides: each part against its formula, joined as the bundle says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from training.decision.parts import Cosine, Knn, Logit, Mos, Residual, bank_rows
from training.decision.statistic import Material, fit_statistic, held_out_of, part_names, scores
from training.errors import SettingError
from training.grouping.groups import Grouping
from training.model.group_softmax import GroupHead, minimum_others_score

pytestmark = pytest.mark.numeric

GROUPS = Grouping(("g", "h"), ((0, 2), (1, 3, 4)))


@pytest.fixture
def head() -> GroupHead:
    """A head with random weights on six features."""
    torch.manual_seed(0)
    return GroupHead(6, GROUPS)


@pytest.fixture
def features() -> Tensor:
    """Forty pictures' features, not negative as a backbone's are."""
    return torch.rand(40, 6, generator=torch.Generator().manual_seed(1))


def material(features: Tensor) -> Material:
    """Thirty pictures that were fitted on, ten held out."""
    return Material(features[:30].numpy(), np.arange(30) % 5, features[30:].numpy())


def test_mos_as_log_odds_ranks_as_mos(head: GroupHead, features: Tensor) -> None:
    """log((1 - p) / p) of the smallest *others* probability."""
    logits = head(features)
    smallest = -minimum_others_score(head.probabilities(logits)[1])
    expected = torch.log((1 - smallest) / smallest)
    torch.testing.assert_close(Mos(head)(features, logits), expected, rtol=1e-3, atol=1e-4)


def test_mos_as_log_odds_tells_what_float32_probabilities_cannot(head: GroupHead) -> None:
    """Two pictures whose *others* probabilities are both rounded to 0 keep their order."""
    logits = torch.zeros(2, 7)
    logits[0, 1], logits[1, 1] = 200.0, 300.0
    low, high = Mos(head)(torch.zeros(2, 6), logits).tolist()
    assert low < high


def test_the_largest_class_logit_leaves_others_out(head: GroupHead) -> None:
    """An *others* logit is the first of its group, whatever it is."""
    logits = torch.tensor([[90.0, 1.0, 2.0, 80.0, 3.0, -1.0, 0.0]])
    assert Logit(head)(torch.zeros(1, 6), logits).tolist() == [3.0]


def test_knn_is_the_distance_to_the_kth_nearest_on_the_unit_sphere(features: Tensor) -> None:
    """Against distances computed one by one."""
    part = Knn(features[:30], k=3)
    bank = features[:30].double() / features[:30].double().norm(dim=1, keepdim=True)
    asked = features[30:].double() / features[30:].double().norm(dim=1, keepdim=True)
    expected = -torch.cdist(asked, bank).sort(dim=1).values[:, 2]
    torch.testing.assert_close(part(features[30:], torch.zeros(0)).double(), expected, rtol=1e-2, atol=2e-3)


def unit64(rows: Tensor) -> Tensor:
    """Rows of length 1, in double precision."""
    return rows.double() / rows.double().norm(dim=1, keepdim=True)


def test_the_residual_is_what_principal_directions_leave(features: Tensor) -> None:
    """Against the singular vectors of the centred training features: half as many as there are dimensions."""
    fitted, asked = unit64(features[:30]), unit64(features[30:])
    centre = fitted.mean(dim=0)
    kept = torch.linalg.svd(fitted - centre).Vh[:3]
    expected = -((asked - centre) - (asked - centre) @ kept.T @ kept).norm(dim=1)
    part = Residual(features[:30])
    assert part.described == {"directions": 3}
    torch.testing.assert_close(part(features[30:], torch.zeros(0)).double(), expected, rtol=1e-2, atol=2e-3)


def test_the_cosine_is_with_the_nearest_class_mean_about_the_mean_of_all(features: Tensor) -> None:
    """Against each class's mean, one by one; labels need not be without gaps."""
    labels = torch.arange(30) % 5 * 2
    fitted, asked = unit64(features[:30]), unit64(features[30:])
    centre = fitted.mean(dim=0)
    means = torch.stack([fitted[labels == label].mean(dim=0) for label in range(0, 10, 2)])
    expected = torch.stack([unit64(asked - centre) @ (mean - centre) / (mean - centre).norm() for mean in means])
    part = Cosine(features[:30], labels)
    torch.testing.assert_close(part(features[30:], torch.zeros(0)).double(), expected.amax(dim=0), rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("name", ["knn", "residual", "cosine"])
def test_how_bright_a_picture_is_changes_nothing(head: GroupHead, features: Tensor, name: str) -> None:
    """Features of length 1 are read, and a black picture's zeros give a number too."""
    statistic = fit_statistic(name, head, material(features), seed=0)
    assert statistic is not None
    logits = torch.zeros(len(features), 7)
    torch.testing.assert_close(statistic(3 * features, logits), statistic(features, logits), rtol=1e-3, atol=1e-3)
    assert statistic(torch.zeros(1, 6), logits[:1]).isfinite().all()


def test_a_bank_has_its_share_of_every_class() -> None:
    """A class of few pictures keeps them all before a large one fills the rest."""
    labels = np.array([0] * 50 + [1] * 3 + [2] * 20)
    rows = bank_rows(labels, 15, seed=0)
    assert np.bincount(labels[rows]).tolist() == [6, 3, 6]
    assert len(set(rows.tolist())) == 15


def test_joined_parts_are_standardised_on_held_out_pictures(head: GroupHead, features: Tensor) -> None:
    """On those the mean of the sum is 0, and each part's deviation is 1."""
    statistic = fit_statistic("mos+logit", head, material(features), seed=0)
    assert statistic is not None
    held_out = features[30:]
    with torch.no_grad():
        logits = head(held_out)
        each = [
            (v - v.mean()) / v.std(correction=0) for v in (Mos(head)(held_out, logits), Logit(head)(held_out, logits))
        ]
    torch.testing.assert_close(scores(head, statistic, held_out), each[0] + each[1], rtol=1e-4, atol=1e-4)


def test_the_bundle_says_what_the_graph_computes(head: GroupHead, features: Tensor) -> None:
    """From the description alone the score can be computed again."""
    statistic = fit_statistic("mos+knn", head, material(features), seed=0)
    assert statistic is not None
    described = statistic.described()
    assert described.statistic == "mos+knn"
    assert described.parts[1].parameters["bank"] == 30
    with torch.no_grad():
        logits = head(features)
        values = {"mos": Mos(head)(features, logits), "knn": statistic.parts[1](features, logits)}
    expected = sum(part.weight * (values[part.name].double() - part.mean) / part.deviation for part in described.parts)
    torch.testing.assert_close(scores(head, statistic, features).double(), expected, rtol=1e-3, atol=1e-3)


def test_moments_are_of_the_first_set_that_is_large_enough() -> None:
    """One picture has no deviation; where nothing is large enough, more pictures are better."""
    one, few, some, many = (np.zeros((count, 6), np.float32) for count in (1, 12, 20, 300))
    assert held_out_of(some, many) is some
    assert held_out_of(one, some, many) is some
    assert held_out_of(one, few) is few


def test_mos_alone_is_the_papers_score(head: GroupHead, features: Tensor) -> None:
    """No statistic is fitted, and the score is -min(others)."""
    assert fit_statistic("mos", head, material(features), seed=0) is None
    with torch.no_grad():
        expected = minimum_others_score(head.probabilities(head(features))[1])
    assert torch.equal(scores(head, None, features), expected)


@pytest.mark.parametrize("name", ["mos+mos", "energy", "", "mos+"])
def test_a_statistic_that_cannot_be_made_is_one_sentence(name: str) -> None:
    """It names the parts that there are."""
    with pytest.raises(SettingError, match=r"--decide-by is .*join different ones of mos, "):
        part_names(name)
