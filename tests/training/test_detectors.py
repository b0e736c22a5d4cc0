"""Detectors by their published formulas, written out."""

import math

import numpy as np
import pytest

from training.detectors import DETECTORS, Head, Outputs

LOGITS = np.array([[2.0, -1.0, 0.5], [800.0, 0.0, -800.0], [0.0, 0.0, 0.0]], np.float32)
OTHERS = np.array([[0.3, 0.9], [1.0, 0.7], [0.5, 0.5]], np.float32)


def scores(name: str) -> list[float]:
    """One detector on the outputs above."""
    head = Head(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    return DETECTORS[name].score(Outputs(LOGITS, OTHERS, LOGITS, head), {}).tolist()


def test_mos_is_minus_the_smallest_others_score() -> None:
    """Paper Eq. 3."""
    assert scores("mos") == pytest.approx([-0.3, -0.7, -0.5])


def test_msp_is_the_largest_softmax_probability() -> None:
    """Also where exp would overflow."""
    largest = math.exp(2) / (math.exp(2) + math.exp(-1) + math.exp(0.5))
    assert scores("msp") == pytest.approx([largest, 1.0, 1 / 3])


def test_energy_is_the_log_sum_of_exponentials() -> None:
    """Also where exp would overflow."""
    assert scores("energy") == pytest.approx([math.log(math.exp(2) + math.exp(-1) + math.exp(0.5)), 800.0, math.log(3)])
