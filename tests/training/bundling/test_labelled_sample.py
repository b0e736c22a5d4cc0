"""Labels certify as far as they represent what is served, however people chose what to label."""

import math

import numpy as np
import pytest
from scipy.stats import beta, norm

from tests.training.bundling.scores import certified, scored
from training.bundling.labelled_sample import LabelledSample, sample
from training.bundling.labels import Label, Served
from training.bundling.thresholds import choose

RECALIBRATIONS = 500


def labels(accepted: int, rejected: int) -> list[Label]:
    """So many of either decision."""
    return [Label(True, 0.0, "in", None)] * accepted + [Label(True, -1.0, "out", None)] * rejected


def all_of(accepted: int, rejected: int) -> Served:
    """What was served, by a verdict line for every picture."""
    return Served(accepted, rejected, accepted + rejected)


def kept(found: LabelledSample) -> tuple[int, int]:
    """How many accepted and rejected pictures count."""
    decisions = [label.decision for label in found.kept]
    return decisions.count("in"), decisions.count("out")


def test_labels_in_equal_shares_are_all_kept() -> None:
    """A tenth of either."""
    found = sample(labels(900, 50), all_of(9_000, 500), 0.95)
    assert kept(found) == (900, 50)
    assert found.shares == pytest.approx({"in": 0.1, "out": 0.1})
    assert found.problem is None


def test_the_decision_that_was_asked_about_more_is_thinned() -> None:
    """Every rejected picture was labelled and one in ten accepted ones: one in ten rejected ones stays."""
    assert kept(sample(labels(900, 500), all_of(9_000, 500), 0.95)) == (900, 50)
    assert kept(sample(labels(9_000, 50), all_of(9_000, 500), 0.95)) == (900, 50)


def test_which_of_the_labels_stay_is_drawn() -> None:
    """Not the first ones, which may be of one day; the same ones every time."""
    given = labels(90, 0) + [Label(True, float(number), "out", None) for number in range(500)]
    one, other = ([label.score for label in sample(given, all_of(900, 500), 0.95).kept] for _ in range(2))
    assert len(one) == 90 + 50
    assert 150 < np.mean(one[90:]) < 350
    assert one == other


def test_counts_are_rounded_towards_the_lower_threshold() -> None:
    """An accepted picture fewer, or a rejected one more."""
    assert kept(sample(labels(70, 10), all_of(777, 55), 0.95)) == (70, 5)  # of 4.95
    assert kept(sample(labels(700, 5), all_of(777, 55), 0.95)) == (70, 5)  # of 70.6


def test_few_verdict_lines_count_more_rejected_pictures() -> None:
    """As many as there may be, by Clopper and Pearson's limit; the more lines, the fewer."""
    rejected = [kept(sample(labels(900, 500), Served(9_000, 500, lines), 0.95))[1] for lines in (95, 950, 8_000, 9_500)]
    assert rejected == sorted(rejected, reverse=True)
    most = beta.ppf(0.95, 5 / 0.99 + 1, 90 / 0.99)  # of 95 lines, five rejected; one line in a hundred is written
    assert rejected[0] == math.ceil(900 * most / (1 - most))
    assert rejected[-1] == 50


@pytest.mark.parametrize(("accepted", "rejected", "missing"), [(0, 70, "in"), (70, 0, "out")])
@pytest.mark.parametrize("served", [None, all_of(900, 90), all_of(900, 0)])
def test_labels_of_one_decision_certify_nothing(
    accepted: int, rejected: int, missing: str, served: Served | None
) -> None:
    """Rejected pictures alone are a selected sample, and so are accepted ones."""
    found = sample(labels(accepted, rejected), served, 0.95)
    assert not found.kept
    assert found.problem is not None
    assert f"judged `{missing}`" in found.problem


@pytest.mark.parametrize("served", [None, all_of(0, 9)])
def test_without_verdict_lines_the_shares_are_not_known(served: Served | None) -> None:
    """The labels may be looked at, with the problem said."""
    found = sample(labels(70, 5), served, 0.95)
    assert len(found.kept) == 75
    assert found.problem is not None
    assert "--verdicts" in found.problem


@pytest.mark.parametrize("served", [None, all_of(9, 1)])
def test_no_labels_are_no_problem(served: Served | None) -> None:
    """Pictures alone calibrate too."""
    assert sample([], served, 0.95).problem is None


@pytest.mark.parametrize("written", [1.0, 0.1, 0.03])
@pytest.mark.parametrize(("of_accepted", "of_rejected"), [(0.3, 0.05), (0.05, 0.9)])
def test_the_promise_holds_whoever_was_asked_about_more(of_accepted: float, of_rejected: float, written: float) -> None:
    """Fewer than 5 % of recalibrations break it; with every label taken as it is, nearly all or none do."""
    generator = np.random.default_rng(0)
    old = norm.ppf(0.1)  # where a tenth of in-distribution pictures is rejected
    broken = broken_unthinned = 0
    for _ in range(RECALIBRATIONS):
        values = generator.normal(size=5_000)
        rejected = values < old
        asked = generator.random(5_000) < np.where(rejected, of_rejected, of_accepted)
        logged = generator.random(5_000) < written
        served = Served((~rejected & logged).sum() / written, (rejected & logged).sum() / written, logged.sum())
        given = [
            Label(True, v, "out" if r else "in", None) for v, r in zip(values[asked], rejected[asked], strict=True)
        ]
        thinned = [label.score for label in sample(given, served, 0.95).kept]
        broken += norm.sf(choose(scored(thinned), certified(0.95)).threshold) < 0.95
        broken_unthinned += norm.sf(choose(scored(values[asked]), certified(0.95)).threshold) < 0.95
    assert broken <= 0.05 * RECALIBRATIONS
    assert broken_unthinned / RECALIBRATIONS == pytest.approx(float(of_accepted > of_rejected), abs=0.02)
