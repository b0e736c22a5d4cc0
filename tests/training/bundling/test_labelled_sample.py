"""Labels certify as far as they represent what is served, however people chose what to label."""

import numpy as np
import pytest
from scipy.stats import norm

from tests.training.bundling.scores import certified, scored
from training.bundling.labelled_sample import sample
from training.bundling.labels import Label
from training.bundling.thresholds import choose

RECALIBRATIONS = 500


def labels(accepted: int, rejected: int) -> list[Label]:
    """So many of either decision."""
    return [Label(True, 0.0, "in", None)] * accepted + [Label(True, -1.0, "out", None)] * rejected


def test_labels_in_equal_shares_are_all_kept() -> None:
    """A tenth of either."""
    found = sample(labels(900, 50), {"in": 9000.0, "out": 500.0})
    assert len(found.kept) == 950
    assert found.shares == pytest.approx({"in": 0.1, "out": 0.1})
    assert found.problem is None


def test_the_decision_that_was_asked_about_more_is_thinned() -> None:
    """Every rejected picture was labelled and one in ten accepted ones: one in ten rejected ones stays, by chance."""
    found = sample(labels(900, 500), {"in": 9000.0, "out": 500.0})
    kept = [label.decision for label in found.kept]
    assert (kept.count("in"), kept.count("out")) == (900, 50)


def test_which_of_the_labels_stay_is_drawn() -> None:
    """Not the first ones, which may be of one day; the same ones every time."""
    given = [Label(True, float(number), "out", None) for number in range(500)]
    accepted = [Label(True, 0.0, "in", None)] * 90
    scores = [label.score for label in sample(accepted + given, {"in": 900.0, "out": 500.0}).kept][90:]
    assert len(scores) == 50
    assert 150 < np.mean(scores) < 350
    assert scores == [label.score for label in sample(accepted + given, {"in": 900.0, "out": 500.0}).kept][90:]


def test_counts_are_rounded_towards_the_lower_threshold() -> None:
    """An accepted picture fewer, or a rejected one more."""
    few_accepted = sample(labels(70, 10), {"in": 777.0, "out": 55.0})
    assert [label.decision for label in few_accepted.kept].count("out") == 5  # of 4.95
    few_rejected = sample(labels(700, 5), {"in": 777.0, "out": 55.0})
    assert [label.decision for label in few_rejected.kept].count("in") == 70  # of 70.6


@pytest.mark.parametrize(("accepted", "rejected", "missing"), [(0, 70, "in"), (70, 0, "out")])
@pytest.mark.parametrize("served", [{}, {"in": 900.0, "out": 90.0}])
def test_labels_of_one_decision_certify_nothing(
    accepted: int, rejected: int, missing: str, served: dict[str, float]
) -> None:
    """Rejected pictures alone are a selected sample, and so are accepted ones."""
    found = sample(labels(accepted, rejected), served)
    assert not found.kept
    assert found.problem is not None
    assert f"judged `{missing}`" in found.problem


def test_without_verdict_lines_the_shares_are_not_known() -> None:
    """The labels may be looked at, with the problem said."""
    found = sample(labels(70, 5), {})
    assert len(found.kept) == 75
    assert found.problem is not None
    assert "--verdicts" in found.problem


def test_where_nothing_was_rejected_nothing_is_missing() -> None:
    """All that was served was accepted."""
    assert sample(labels(70, 0), {"in": 700.0}).problem is None


def test_no_labels_are_no_problem() -> None:
    """Pictures alone calibrate too."""
    assert sample([], {"in": 3.0}).problem is None


@pytest.mark.parametrize(("of_accepted", "of_rejected"), [(0.3, 0.05), (0.05, 0.9)])
def test_the_promise_holds_whoever_was_asked_about_more(of_accepted: float, of_rejected: float) -> None:
    """Fewer than 5 % of recalibrations break it; with every label taken as it is, nearly all or none do."""
    generator = np.random.default_rng(0)
    old = norm.ppf(0.1)  # where a tenth of in-distribution pictures is rejected
    broken = broken_unthinned = 0
    for _ in range(RECALIBRATIONS):
        values = generator.normal(size=4_000)
        rejected = values < old
        asked = generator.random(4_000) < np.where(rejected, of_rejected, of_accepted)
        given = [
            Label(True, v, "out" if r else "in", None) for v, r in zip(values[asked], rejected[asked], strict=True)
        ]
        served = {"in": float((~rejected).sum()), "out": float(rejected.sum())}
        kept = [label.score for label in sample(given, served).kept]
        broken += norm.sf(choose(scored(kept), certified(0.95)).threshold) < 0.95
        broken_unthinned += norm.sf(choose(scored(values[asked]), certified(0.95)).threshold) < 0.95
    assert broken <= 0.05 * RECALIBRATIONS
    assert broken_unthinned / RECALIBRATIONS == pytest.approx(float(of_accepted > of_rejected), abs=0.02)
