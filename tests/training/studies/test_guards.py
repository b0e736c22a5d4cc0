"""A guard of a study is fitted on the right pictures and judged at the certified threshold."""

from pathlib import Path

import numpy as np
import pytest

from training.bundling.siblings import Pictures
from training.fitting.recipes import one_cycle
from training.grouping.groups import Grouping
from training.studies.guards import Figures, judge_guard, kept, told_apart

pytestmark = pytest.mark.numeric

CLASSES, EACH, SIZE = 3, 60, 12
STATISTICS = ("msp", "energy", "mos", "cosine", "logit+residual")


def lit(places: np.ndarray, seed: int) -> np.ndarray:
    """Features that light up one place each, with a little noise."""
    noise = np.random.default_rng(seed).standard_normal((len(places), SIZE))
    return (np.eye(SIZE)[places] + 0.05 * noise).astype(np.float32)


@pytest.fixture
def figures() -> Figures:
    """Of a guard of classes 0 to 2, against what lights up other features and against pictures of its own."""
    labels = np.repeat(np.arange(CLASSES), EACH)
    rows = np.arange(len(labels))
    own = Pictures(lit(labels, 0)[None], labels, rows[rows % 3 == 0], rows[rows % 3 == 1], rows[rows % 3 == 2])
    recipe = one_cycle(epochs=40, batch_size=15, learning_rate=0.5)
    strangers = {"far": lit(np.full(40, 9), 1), "own": lit(labels, 2)}
    return judge_guard(own, Grouping(("x", "y"), ((0, 2), (1,))), recipe, STATISTICS, strangers)


def test_every_statistic_turns_away_what_is_foreign_and_takes_its_own_in(figures: Figures) -> None:
    """The heads know the classes, and strangers score below them by each name."""
    assert figures["top1"] == {"group": 1.0, "flat": 1.0}
    assert tuple(figures["statistics"]) == STATISTICS
    for sets in figures["statistics"].values():
        assert sets["far"]["auroc"] > 0.95
        assert sets["far"]["let_in"] < 0.1
        assert sets["own"]["let_in"] > 0.85


def test_the_share_let_in_is_at_the_certified_threshold_and_not_at_the_plain_quantile() -> None:
    """Of 100 scores the second smallest keeps 95 % with confidence; a stranger on the threshold gets in."""
    found = told_apart(np.arange(100.0), np.array([0.5, 1.0, 3.0, 6.0]))
    assert found["let_in"] == 0.75
    assert found["fpr95"] == 0.25


def test_what_is_finished_is_not_made_again(tmp_path: Path) -> None:
    """A second call reads the file."""
    file = tmp_path / "guards" / "one, 0.json"
    assert kept(file, lambda: {"top1": 0.5}) == {"top1": 0.5}
    assert kept(file, lambda: pytest.fail("it was made again")) == {"top1": 0.5}
