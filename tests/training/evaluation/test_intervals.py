"""Intervals: that they hold the truth as often as they say, by simulation, and what they do where data says little."""

import numpy as np
import pytest
from scipy.stats import norm

from training.evaluation import intervals
from training.evaluation.intervals import compare, draws, interval
from training.evaluation.metrics import METRICS, aupr_in, aupr_out, summary

Pair = tuple[np.ndarray, np.ndarray]
GAP = 1.5


def normal_pair(generator: np.random.Generator, n_in: int, n_out: int, digits: int = 9) -> Pair:
    return generator.normal(GAP, 1, n_in).round(digits), generator.normal(0, 1, n_out).round(digits)


@pytest.mark.parametrize(("n_in", "n_out"), [(120, 80), (400, 40)])
def test_nineteen_of_twenty_intervals_hold_the_truth(n_in: int, n_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 250 data sets from known normals, 89 % to 99.5 % of the intervals hold the known figure, for each metric."""
    monkeypatch.setattr(intervals, "REPLICATES", 200)
    generator = np.random.default_rng(7)
    many = normal_pair(generator, 30_000 * n_in // n_out, 30_000)
    truth = {
        "auroc": norm.cdf(GAP / np.sqrt(2)),
        "fpr95": norm.sf(norm.ppf(0.05, GAP, 1)),
        "aupr_in": aupr_in(*many),
        "aupr_out": aupr_out(*many),
    }
    held = dict.fromkeys(METRICS, 0)
    floors = intervals._floors(n_in, n_out)
    for trial in range(250):
        id_scores, ood_scores = normal_pair(generator, n_in, n_out)
        drawn, figures = draws(id_scores, {"x": ood_scores}, trial)["x"], summary(id_scores, ood_scores)
        for metric in METRICS:
            low, high = interval(drawn[metric], figures[metric], n_out, floors[metric])
            held[metric] += low <= truth[metric] <= high
    assert all(0.89 * 250 <= count <= 0.995 * 250 for count in held.values()), held


def test_an_interval_of_a_tiny_fpr95_does_not_shut_at_zero() -> None:
    """No OOD picture of 50 above the threshold is compatible with a rate of several percent."""
    generator = np.random.default_rng(1)
    sets, _ = compare(generator.normal(9, 1, 500), {"x": generator.normal(0, 1, 50)}, ["x"], "paper", 0)
    assert sets["x"]["fpr95"] == 0
    low, high = sets["x"]["fpr95_interval"]
    assert low == 0
    assert 0.02 < high < 0.08  # Clopper and Pearson's would be 0.071


def test_a_draw_is_the_metric_of_the_drawn_pictures() -> None:
    """The bootstrap's areas, ties included, are the metrics' own on the same multiset."""
    generator = np.random.default_rng(2)
    id_scores, ood_scores = normal_pair(generator, 60, 40, digits=1)
    id_ranks, ood_ranks, levels = intervals._ranks(id_scores, ood_scores)
    for _ in range(10):
        ours, theirs = generator.integers(0, 60, 60), generator.integers(0, 40, 40)
        counts = (np.bincount(ranks, minlength=levels) for ranks in (id_ranks[ours], ood_ranks[theirs]))
        expected = summary(id_scores[ours], ood_scores[theirs])
        assert intervals._areas(*counts) == pytest.approx([expected[m] for m in ("auroc", "aupr_in", "aupr_out")])


@pytest.mark.parametrize(
    ("id_scores", "ood_scores", "expected"),
    [
        (np.arange(10.0) + 20, np.arange(15.0), (0.025 ** (1 / 10), 1.0)),
        (np.arange(10.0), np.arange(15.0) + 20, (0.0, 1 - 0.025 ** (1 / 10))),
        (np.zeros(10), np.zeros(15), (0.5 * 0.025 ** (1 / 10), 1 - 0.5 * 0.025 ** (1 / 10))),
    ],
    ids=["separated", "upside down", "all tied"],
)
def test_what_resampling_cannot_move_gets_clopper_and_pearsons_interval(
    id_scores: np.ndarray, ood_scores: np.ndarray, expected: tuple[float, float]
) -> None:
    """A perfect AUROC on ten pictures is no proof of a perfect detector."""
    sets, average = compare(id_scores, {"x": ood_scores}, ["x"], "paper", 0)
    assert sets["x"]["auroc_interval"] == pytest.approx(expected)
    assert average["auroc_interval"] == pytest.approx(expected)


def test_an_average_is_no_surer_than_its_smallest_set() -> None:
    """Five pictures cannot rule out what five hundred do."""
    id_scores = np.arange(500.0) + 1000
    _, average = compare(id_scores, {"few": np.arange(5.0), "many": np.arange(500.0)}, ["few", "many"], "paper", 0)
    assert average["auroc_interval"] == pytest.approx((0.025 ** (1 / 5), 1.0))


def test_the_true_threshold_lies_on_either_side_of_a_score() -> None:
    """One ID picture, no OOD picture above it: half of the draws put the threshold below everything."""
    drawn = draws(np.zeros(1), {"x": -1 - np.arange(50.0)}, 0)["x"]["fpr95"]
    assert 0.4 < (drawn > 0.5).mean() < 0.6


def test_one_picture_says_next_to_nothing() -> None:
    """n = 1 on a side: nearly the whole range."""
    sets, _ = compare(np.array([1.0]), {"x": np.arange(50.0)}, ["x"], "paper", 0)
    for metric in ("auroc", "fpr95"):
        low, high = sets["x"][f"{metric}_interval"]
        assert high - low >= 0.97


def test_almost_perfect_is_not_surer_than_perfect() -> None:
    """One OOD picture a little above one ID picture; the bootstrap alone would say 0.999 to 1."""
    id_scores, ood_scores = np.arange(100.0) + 50, np.arange(50.0)
    ood_scores[-1] = 50.5
    almost, perfect = (
        compare(id_scores, {"x": scores}, ["x"], "paper", 0)[0]["x"] for scores in (ood_scores, ood_scores - 2)
    )
    assert 0.999 < almost["auroc"] < perfect["auroc"] == 1
    for metric in ("auroc", "aupr_in", "aupr_out"):
        assert almost[f"{metric}_interval"][0] < perfect[f"{metric}_interval"][0] < 0.99


def test_every_interval_holds_its_figure_and_the_same_seed_repeats_it() -> None:
    """Also for the average, and for every convention of FPR95 with heavy ties."""
    generator = np.random.default_rng(3)
    id_scores, near = normal_pair(generator, 80, 30, digits=0)
    sets, average = compare(id_scores, {"near": near, "far": near - 2}, ["near", "far"], "nearest", 5)
    for figures in (*sets.values(), average):
        for metric in METRICS:
            low, high = figures[f"{metric}_interval"]
            assert 0 <= low <= figures[metric] <= high <= 1
    assert compare(id_scores, {"near": near, "far": near - 2}, ["near", "far"], "nearest", 5) == (sets, average)


def test_the_average_is_over_the_named_sets_alone() -> None:
    """A cleaned set does not count twice; averaging independent OOD sets narrows the interval."""
    generator = np.random.default_rng(4)
    id_scores, ood_scores = normal_pair(generator, 2000, 600)
    ood_sets = {"a": ood_scores, "b": generator.normal(0, 1, 600), "a.cleaned": ood_scores[:200]}
    sets, average = compare(id_scores, ood_sets, ["a", "b"], "paper", 0)
    assert average["auroc"] == pytest.approx((sets["a"]["auroc"] + sets["b"]["auroc"]) / 2)
    widths = [high - low for low, high in (figures["auroc_interval"] for figures in (*sets.values(), average))]
    assert widths[3] < 0.9 * min(widths[:3])


def test_sets_that_share_their_id_pictures_vary_together() -> None:
    """With few ID pictures the average of two sets is hardly surer than one of them."""
    generator = np.random.default_rng(5)
    id_scores = generator.normal(GAP, 1, 30)
    drawn = draws(id_scores, {"a": generator.normal(0, 1, 4000), "b": generator.normal(0, 1, 4000)}, 0)
    for metric, least in (("auroc", 0.9), ("fpr95", 0.9)):
        assert np.corrcoef(drawn["a"][metric], drawn["b"][metric])[0, 1] > least
