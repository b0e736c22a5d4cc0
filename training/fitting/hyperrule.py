"""BiT-HyperRule: how long, how fast and how large to fine-tune, as functions of the data set ("Big Transfer", §3.3).

The schedule is a tuple of steps: end of the warm-up, then where the rate falls tenfold, then the end.
"""

from __future__ import annotations

from bisect import bisect_left

BASE_LEARNING_RATE = 0.003
MOMENTUM = 0.9
BATCH_SIZE = 512
SMALL_SET = 20_000  # pictures
MEDIUM_SET = 500_000
SMALL_PICTURE = 96 * 96  # pixels
PAPER_SCHEDULE = (500, 6_000, 12_000, 18_000, 20_000)


def schedule(pictures: int) -> tuple[int, ...]:
    """The schedule for a number of training pictures."""
    if pictures < SMALL_SET:
        return (100, 200, 300, 400, 500)
    if pictures < MEDIUM_SET:
        return (500, 3_000, 6_000, 9_000, 10_000)
    return PAPER_SCHEDULE


def learning_rate(step: int, supports: tuple[int, ...], base: float = BASE_LEARNING_RATE) -> float:
    """Rate of one step, counted from 0: linear warm-up from zero, then a tenth after each support.

    The step at a support still has the higher rate: the rule compares with a strict `>`.
    """
    warm_up, *drops, _ = supports
    if step < warm_up:
        return float(base * step / warm_up)
    return float(base / 10 ** bisect_left(drops, step))


def mixup_alpha(pictures: int) -> float:
    """The parameter of mixup's Beta distribution; 0 is no mixup."""
    return 0.0 if pictures < SMALL_SET else 0.1


def resolution(height: int, width: int) -> tuple[int, int]:
    """Side that pictures of a typical height and width are squashed to, and side of the random crop of it."""
    return (160, 128) if height * width < SMALL_PICTURE else (512, 480)


def side_before_crop(side: int) -> int:
    """Side to squash pictures to for a crop of `side`, in the large pictures' proportion of 512 to 480."""
    return -(-side * 512 // 480)
