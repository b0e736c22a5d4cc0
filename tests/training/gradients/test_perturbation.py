"""ODIN's step: its direction and size, and whom each setting follows."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.float64 import in_float64
from training.gradients.perturbation import EPSILONS, choose_epsilon, epsilon, perturbed_logits, step
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network

pytestmark = pytest.mark.numeric

PIXELS = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> Network:
    """A small backbone and a flat head with random weights, in float64."""
    torch.manual_seed(3)
    network = Network(backbone("R11-tiny"), Grouping(("a", "b"), ((0, 1, 2), (3, 4)))).eval()
    nn.init.normal_(network.flat.weight, std=0.5)
    return in_float64(network)


def plain_logits(network: Network, pixels: np.ndarray) -> np.ndarray:
    """One pass in one batch."""
    with torch.no_grad():
        return network.flat(network(torch.from_numpy(pixels))).numpy()


def test_no_step_is_the_plain_logits(network: Network) -> None:
    """Epsilon 0, in more than one batch."""
    assert perturbed_logits(network, PIXELS, epsilon=0.0) == pytest.approx(plain_logits(network, PIXELS), abs=1e-9)


def test_no_step_pays_no_backward_pass(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' code pays for it and then multiplies by zero."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a gradient was asked for")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    assert perturbed_logits(network, PIXELS[:2], epsilon=0.0).shape == (2, 5)
    with pytest.raises(AssertionError, match="gradient"):
        perturbed_logits(network, PIXELS[:2], epsilon=0.01)


def test_the_step_is_against_the_sign_of_the_tempered_gradient(network: Network) -> None:
    """x - epsilon sign(d CE(z / T, arg max z) / dx) in [-1, 1], picture by picture, with gradients by torch's tape."""
    expected = []
    for pixels in PIXELS[:3]:
        x = network.backbone.normalise(torch.from_numpy(pixels[None])).requires_grad_()
        z = network.flat(network.backbone(x))
        (-torch.log_softmax(z / 1000, dim=1)[0, z.argmax()]).backward()
        assert x.grad is not None
        sign = (x.grad >= 0).float() * 2 - 1
        with torch.no_grad():
            expected.append(network.flat(network.backbone(x - 0.01 * sign))[0].numpy())
    assert perturbed_logits(network, PIXELS[:3], epsilon=0.01) == pytest.approx(np.stack(expected), abs=1e-9)


def test_the_sign_of_zero_is_one() -> None:
    """As in the authors' code, where torch.sign would give 0."""
    moved = step(torch.zeros(3), torch.tensor([-2.0, 0.0, 0.5]), 0.1)
    torch.testing.assert_close(moved, torch.tensor([0.1, -0.1, -0.1]))


def test_the_step_makes_pictures_more_confident(network: Network) -> None:
    """Its purpose, and a check of its sign."""
    before = torch.softmax(torch.from_numpy(plain_logits(network, PIXELS)) / 1000, dim=1).amax(dim=1)
    after = torch.softmax(torch.from_numpy(perturbed_logits(network, PIXELS, epsilon=0.005)) / 1000, dim=1).amax(dim=1)
    assert after.mean() > before.mean()


@pytest.mark.parametrize(("source", "expected"), [("paper", 0.0014), ("official", 0.0)])
def test_paper_and_official_steps_are_fixed(network: Network, source: str, expected: float) -> None:
    """D6: ODIN's published step, and none at all."""
    assert epsilon(source, network, PIXELS[:0]) == expected


def test_the_corrected_step_makes_held_out_pictures_most_confident(network: Network) -> None:
    """D6, `corrected`: the best of the grid on the pictures it is given, which are in-distribution."""

    def confidence(magnitude: float) -> float:
        logits = perturbed_logits(network, PIXELS, epsilon=magnitude).astype(np.float64) / 1000
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return float((1 / powers.sum(axis=1)).mean())

    best = choose_epsilon(network, PIXELS)
    assert best in EPSILONS
    assert all(confidence(best) >= confidence(other) for other in EPSILONS)
    assert epsilon("corrected", network, PIXELS) == best
