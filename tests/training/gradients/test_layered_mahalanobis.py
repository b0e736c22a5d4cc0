"""The five-layer Mahalanobis detector against the official code's own way of computing it."""

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from torch import Tensor, nn

from tests.training.float64 import in_float64
from training.errors import DataError
from training.gradients import layered_mahalanobis as layered
from training.gradients.layered_mahalanobis import Tap, attack, fit, fit_taps, layer_scores, tap_features
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network

pytestmark = pytest.mark.numeric

RANDOM = np.random.default_rng(0)
COUNT = 160  # more than the widest tap has channels, so that covariances are regular
LABELS = np.arange(COUNT) % 5
# A colour for each class, so that class means differ, and contrasts that vary.
COLOURS = RANDOM.integers(60, 196, (5, 1, 1, 3))[LABELS]
CONTRASTS = RANDOM.uniform(10, 60, (COUNT, 1, 1, 3))
PIXELS = np.clip(COLOURS + CONTRASTS * RANDOM.normal(0, 1, (COUNT, 16, 16, 3)), 0, 255).astype(np.uint8)
FEW = slice(0, 60)


@pytest.fixture(scope="module")
def network() -> Network:
    """A small backbone (root and three blocks) and a flat head with random weights, in float64."""
    torch.manual_seed(3)
    network = Network(backbone("R11-tiny"), Grouping(("a", "b"), ((0, 1, 2), (3, 4)))).eval()
    nn.init.normal_(network.flat.weight, std=0.5)
    return in_float64(network)


@pytest.fixture(scope="module")
def images(network: Network) -> Tensor:
    """The pictures as the backbone takes them."""
    return network.backbone.normalise(torch.from_numpy(PIXELS))


@pytest.fixture(scope="module")
def taps(network: Network, images: Tensor) -> tuple[Tap, ...]:
    """Gaussians of all taps."""
    return fit_taps(network.backbone, images.split(64), LABELS)


def official_scores(tap: Tap, features: Tensor) -> Tensor:
    """-1/2 diag((f - m) P (f - m).T) class by class, through B x B products, as the official code does (B7)."""
    columns = []
    for mean in tap.means:
        centred = features - mean
        columns.append(-0.5 * torch.mm(torch.mm(centred, tap.precision), centred.t()).diag())
    return torch.stack(columns, dim=1)


def test_matrix_products_give_the_numbers_of_the_official_diagonals(
    network: Network, taps: tuple[Tap, ...], images: Tensor
) -> None:
    """B7: the same scores without a B x B product and without a loop over classes."""
    for tap, features in zip(taps, tap_features(network.backbone, images), strict=True):
        x = features.detach()
        torch.testing.assert_close(tap.scores(x), official_scores(tap, x), rtol=1e-7, atol=1e-7)


def test_taps_are_the_root_and_the_raw_output_of_every_block(network: Network, images: Tensor) -> None:
    """D8: spatial means, before the final norm and ReLU, for any number of blocks."""
    features = tap_features(network.backbone, images[:4])
    x = network.backbone.root(images[:4])
    expected = [x]
    for block in network.backbone.blocks():
        x = block(x)
        expected.append(x)
    assert len(features) == 1 + network.backbone.block_count
    for got, whole in zip(features, expected, strict=True):
        torch.testing.assert_close(got, whole.mean(dim=(2, 3)))


def test_gaussians_are_class_means_and_one_covariance(network: Network, taps: tuple[Tap, ...], images: Tensor) -> None:
    """Against scikit-learn's empirical covariance of the centred features."""
    for tap, features in zip(taps, tap_features(network.backbone, images), strict=True):
        x = features.detach().numpy()
        means = np.stack([x[label == LABELS].mean(axis=0) for label in range(5)])
        covariance = EmpiricalCovariance(assume_centered=True).fit(x - means[LABELS]).covariance_
        precision = np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
        np.testing.assert_allclose(tap.means.numpy(), means, atol=1e-9)
        np.testing.assert_allclose(tap.precision.numpy(), precision, atol=1e-9 * np.abs(precision).max())


def test_each_tap_is_scored_after_its_own_step(network: Network, taps: tuple[Tap, ...], images: Tensor) -> None:
    """x - epsilon sign(gradient of the distance to the nearest class of that tap), sign of 0 = +1."""
    expected = []
    for index, tap in enumerate(taps):
        x = images[:6].clone().requires_grad_()
        features = tap_features(network.backbone, x)[index]
        nearest = official_scores(tap, features.detach()).argmax(dim=1)
        centred = features - tap.means[nearest]
        (0.5 * torch.einsum("nf,fg,ng->n", centred, tap.precision, centred)).sum().backward()
        assert x.grad is not None
        moved = x.detach() - 0.002 * ((x.grad >= 0).float() * 2 - 1)
        with torch.no_grad():
            after = tap_features(network.backbone, moved)[index]
        expected.append(official_scores(tap, after).amax(dim=1))
    got = layer_scores(network.backbone, taps, images[:6], 0.002)
    np.testing.assert_allclose(got, torch.stack(expected, dim=1).numpy(), rtol=1e-7)


def test_without_a_step_the_scores_are_of_the_pictures_themselves(
    network: Network, taps: tuple[Tap, ...], images: Tensor
) -> None:
    """Epsilon 0."""
    with torch.no_grad():
        features = tap_features(network.backbone, images)
    expected = [tap.scores(x).amax(dim=1).numpy() for tap, x in zip(taps, features, strict=True)]
    np.testing.assert_allclose(layer_scores(network.backbone, taps, images, 0.0), np.stack(expected, axis=1), rtol=1e-7)


@pytest.mark.parametrize(("source", "low"), [("paper", -1.0), ("official", 0.0), ("corrected", -1.0)])
def test_attacked_pictures_are_clamped_as_the_setting_says(
    network: Network, monkeypatch: pytest.MonkeyPatch, source: str, low: float
) -> None:
    """B2: the official code clamps to [0, 1] pictures that live in [-1, 1]."""
    seen = []
    plain = layered.attack

    def watched(*args: object, **kwargs: object) -> Tensor:
        seen.append(plain(*args, **kwargs))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(layered, "attack", watched)
    monkeypatch.setattr(layered, "EPSILONS", (0.0,))
    fit(network, [PIXELS[:100], PIXELS[100:]], LABELS, PIXELS[FEW], LABELS[FEW], source)
    assert seen[0].min().item() == pytest.approx(low)


def test_the_attack_raises_the_loss_of_the_true_class(network: Network, images: Tensor) -> None:
    """And moves no pixel by more than 0.05."""
    truth = torch.from_numpy(LABELS)
    attacked = attack(network, images, truth, low=-1.0)
    with torch.no_grad():
        before, after = (
            nn.functional.cross_entropy(network.flat(network.backbone(x)), truth) for x in (images, attacked)
        )
    assert after > before
    assert (attacked - images).abs().max().item() == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("source", ["paper", "official"])
def test_the_regression_has_a_column_for_every_tap_and_scores_pictures(
    network: Network, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """D8 and B3: as many columns as it is fed, a step of the published grid, scores in [-1, 0], higher = ID."""
    monkeypatch.setattr(layered, "EPSILONS", (0.0, 0.002))
    model = fit(network, [PIXELS[:100], PIXELS[100:]], LABELS, PIXELS[FEW], LABELS[FEW], source)  # type: ignore[arg-type]
    assert model.regression.n_features_in_ == len(model.taps) == 4
    assert model.epsilon in layered.EPSILONS
    scores = model.score(network, PIXELS)
    assert scores.shape == (COUNT,)
    assert ((scores >= -1) & (scores <= 0)).all()
    noise = RANDOM.integers(0, 256, PIXELS.shape, np.uint8)
    assert model.score(network, noise).mean() < scores.mean()


def test_too_few_held_out_pictures_are_refused(network: Network) -> None:
    """Cross-validation needs some of both kinds in every fold."""
    with pytest.raises(DataError, match="4 held-out pictures are too few"):
        fit(network, [PIXELS[:100], PIXELS[100:]], LABELS, PIXELS[:4], LABELS[:4], "paper")
