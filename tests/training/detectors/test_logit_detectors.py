"""Detectors that read one picture's logits or others scores: their published formulas, picture by picture."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.detectors import DETECTORS, Head, Outputs, gen
from training.errors import DataError

pytestmark = pytest.mark.numeric

LOGITS = np.array([[2.0, -1.0, 0.5], [800.0, 0.0, -800.0], [0.0, 0.0, 0.0]], np.float32)
OTHERS = np.array([[0.3, 0.9], [1.0, 0.7], [0.5, 0.5]], np.float32)


def scores(name: str) -> list[float]:
    """One detector on the outputs above."""
    head = Head(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    return DETECTORS[name].score(Outputs(LOGITS, OTHERS, LOGITS, head), {}).tolist()


def softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    """In plain floats, safe where exp would overflow."""
    powers = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_mos_is_minus_the_smallest_others_score() -> None:
    """Paper Eq. 3."""
    assert scores("mos") == pytest.approx([-0.3, -0.7, -0.5])


def test_msp_is_the_largest_softmax_probability() -> None:
    """Also where exp would overflow."""
    assert scores("msp") == pytest.approx([softmax([2, -1, 0.5])[0], 1.0, 1 / 3])


def test_energy_is_the_log_sum_of_exponentials() -> None:
    """Also where exp would overflow."""
    assert scores("energy") == pytest.approx([math.log(math.exp(2) + math.exp(-1) + math.exp(0.5)), 800.0, math.log(3)])


def test_maxlogit_is_the_largest_logit() -> None:
    """No softmax, no temperature."""
    assert scores("maxlogit") == [2.0, 800.0, 0.0]


def test_gen_is_minus_the_generalised_entropy(seen: Outputs) -> None:
    """-sum p^0.1 (1 - p)^0.1 over all classes where there are fewer than 100."""
    expected = [-sum((p * (1 - p)) ** 0.1 for p in softmax(row)) for row in seen.flat_logits.tolist()]
    assert DETECTORS["gen"].score(seen, {}) == pytest.approx(expected, rel=1e-12)


def test_gen_counts_the_100_largest_probabilities_of_more_classes() -> None:
    """M = 100."""
    logits = np.random.default_rng(0).normal(0, 3, (4, 130)).astype(np.float32)
    head = Head(np.zeros((130, 2), np.float32), np.zeros(130, np.float32))
    outputs = Outputs(np.zeros((4, 2), np.float32), np.full((4, 1), 0.5, np.float32), logits, head)
    largest = [sorted(softmax(row))[-100:] for row in logits.tolist()]
    expected = [-sum((p * (1 - p)) ** 0.1 for p in row) for row in largest]
    assert gen.score(outputs, {}) == pytest.approx(expected, rel=1e-12)


def test_gradnorm_is_the_norm_of_a_gradient_that_is_backpropagated(seen: Outputs) -> None:
    """The closed form equals torch's gradient of the cross-entropy against uniform targets, picture by picture."""
    expected = []
    for row in seen.features.astype(np.float64):
        weight = torch.from_numpy(seen.head.weight).double().requires_grad_()
        logits = torch.from_numpy(row) @ weight.T + torch.from_numpy(seen.head.bias).double()
        (-torch.log_softmax(logits, dim=0)).sum().backward()
        assert weight.grad is not None
        expected.append(weight.grad.abs().sum().item())
    assert DETECTORS["gradnorm"].score(seen, {}) == pytest.approx(expected, rel=1e-5)


def test_odin_is_the_tempered_softmax_of_the_perturbed_logits(seen: Outputs) -> None:
    """T = 1000, and the second pass's logits, not the first's."""
    assert seen.perturbed_logits is not None
    expected = [max(softmax(row, 1000.0)) for row in seen.perturbed_logits.tolist()]
    assert DETECTORS["odin"].score(seen, {}) == pytest.approx(expected, rel=1e-12)


def test_odin_without_a_second_pass_says_what_to_do(seen: Outputs) -> None:
    """Where torch is not installed."""
    with pytest.raises(DataError, match=r"install torch .* or leave odin out"):
        DETECTORS["odin"].score(replace(seen, perturbed_logits=None), {})
