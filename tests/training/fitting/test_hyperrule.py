"""BiT-HyperRule, number by number."""

import pytest

from training.fitting import hyperrule
from training.fitting.hyperrule import PAPER_SCHEDULE, learning_rate


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (1, (100, 200, 300, 400, 500)),
        (19_999, (100, 200, 300, 400, 500)),
        (20_000, (500, 3_000, 6_000, 9_000, 10_000)),
        (499_999, (500, 3_000, 6_000, 9_000, 10_000)),
        (500_000, (500, 6_000, 12_000, 18_000, 20_000)),
        (1_281_167, (500, 6_000, 12_000, 18_000, 20_000)),
    ],
)
def test_the_schedule_follows_the_number_of_pictures(pictures: int, expected: tuple[int, ...]) -> None:
    """Three schedules, cut at 20,000 and 500,000."""
    assert hyperrule.schedule(pictures) == expected


def test_the_rate_falls_at_30_60_and_90_percent_of_the_papers_steps() -> None:
    """Paper §4.1."""
    assert [support / PAPER_SCHEDULE[-1] for support in PAPER_SCHEDULE[1:-1]] == [0.3, 0.6, 0.9]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (250, 0.0015),
        (499, 0.003 * 499 / 500),
        (500, 0.003),
        (6_000, 0.003),
        (6_001, 0.0003),
        (12_000, 0.0003),
        (12_001, 0.00003),
        (18_000, 0.00003),
        (18_001, 0.000003),
        (19_999, 0.000003),
    ],
)
def test_the_rate_of_a_step(step: int, expected: float) -> None:
    """Warm-up from zero; a support still has the higher rate, the step after it a tenth."""
    assert learning_rate(step, PAPER_SCHEDULE) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("pictures", "alpha"), [(19_999, 0.0), (20_000, 0.1)])
def test_small_sets_are_not_mixed(pictures: int, alpha: float) -> None:
    """Mixup begins at 20,000 pictures."""
    assert hyperrule.mixup_alpha(pictures) == alpha


@pytest.mark.parametrize(
    ("shape", "sides"),
    [((32, 32), (160, 128)), ((95, 97), (160, 128)), ((96, 96), (512, 480)), ((375, 500), (512, 480))],
)
def test_the_resolution_follows_the_area(shape: tuple[int, int], sides: tuple[int, int]) -> None:
    """Pictures under 96 x 96 pixels go to 160 and 128, others to 512 and 480."""
    assert hyperrule.resolution(*shape) == sides


def test_other_sides_keep_the_papers_margin() -> None:
    """480 is cropped from 512, and any side from its sixteenth more."""
    assert [hyperrule.side_before_crop(side) for side in (480, 32, 40)] == [512, 35, 43]
