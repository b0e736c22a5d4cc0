"""Recipes, and the settings that change them: paper, official or corrected."""

import pytest

from training.fitting.recipes import one_cycle, paper
from training.reproduction import Settings, Source


def test_the_papers_numbers() -> None:
    """Paper §4.1: SGD with 0.003 and 0.9, batches of 512, 20,000 steps, no weight decay."""
    recipe = paper(1_281_167, Settings())
    assert (recipe.learning_rate, recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.003, 0.9, False, 0.0)
    assert (recipe.batch_size, recipe.steps(1_281_167), recipe.average_decay) == (512, 20_000, 0.0)
    assert recipe.learning_rate_at(250, 20_000) == pytest.approx(0.0015)


@pytest.mark.parametrize(("source", "alpha"), [("paper", 0.0), ("official", 0.1), ("corrected", 0.1)])
def test_mixup_is_the_authors_and_not_the_papers(source: Source, alpha: float) -> None:
    """D1."""
    assert paper(50_000, Settings(mixup=source)).mixup_alpha == alpha
    assert paper(10_000, Settings(mixup=source)).mixup_alpha == 0.0


@pytest.mark.parametrize(("source", "augmentation"), [("paper", "none"), ("official", "flip"), ("corrected", "flip")])
def test_mirroring_is_the_authors_and_not_the_papers(source: Source, augmentation: str) -> None:
    """D2."""
    assert paper(50_000, Settings(flip=source)).augmentation == augmentation


@pytest.mark.parametrize("source", ["paper", "official", "corrected"])
def test_nobody_decays_weights(source: Source) -> None:
    """D3: the paper is silent, its code has none, and BiT-HyperRule has none."""
    settings = Settings(source, source, source, source, source)
    assert paper(50_000, settings).weight_decay == 0.0


@pytest.mark.parametrize(("source", "steps"), [("paper", 20_000), ("official", 10_000), ("corrected", 10_000)])
def test_smaller_sets_are_shorter_but_in_the_paper(source: Source, steps: int) -> None:
    """D11."""
    assert paper(35_000, Settings(schedule=source)).steps(35_000) == steps


@pytest.mark.parametrize(("source", "steps"), [("paper", True), ("official", False), ("corrected", True)])
def test_only_the_authors_code_forgets_to_step(source: Source, steps: bool) -> None:
    """B1; what it does to the weights is tested with the step itself."""
    assert paper(50_000, Settings(accumulation=source)).steps_after_split is steps


def test_one_cycle_rises_then_falls_to_zero() -> None:
    """Linear warm-up to the peak, half a cosine to nothing."""
    recipe = one_cycle(learning_rate=0.05)
    rates = [recipe.learning_rate_at(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(recipe.learning_rate, rel=1e-2)
    assert rates.index(max(rates)) in (13, 14, 15)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[0] == pytest.approx(recipe.learning_rate / 15)
