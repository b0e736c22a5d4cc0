"""Detectors that fit something on features: their published formulas in float64, one picture at a time.

The formulas are given the same fitted arrays only where fitting is checked on its own; half-precision storage is why
tolerances of Mahalanobis and ViM are not those of float64.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

from tests.training.detectors.conftest import pictures
from training.detectors import DETECTORS, FitData, Outputs, Statistics, mahalanobis, vim

pytestmark = pytest.mark.numeric


def fitted(name: str, data: FitData) -> Statistics:
    """What one detector learns."""
    fit = DETECTORS[name].fit
    assert fit is not None
    return fit(data)


def log_sum_exp(logits: NDArray[np.float64]) -> float:
    """In plain floats."""
    return math.log(sum(math.exp(logit) for logit in logits.tolist()))


def test_react_is_the_energy_of_clipped_features(data: FitData, seen: Outputs) -> None:
    """Clipped at the 90 % quantile of all training activations, through the flat head again."""
    clip = np.quantile(data.train.features.ravel(), 0.9)
    weight, bias = seen.head.weight.astype(np.float64), seen.head.bias.astype(np.float64)
    expected = [log_sum_exp(weight @ np.minimum(row, clip) + bias) for row in seen.features.astype(np.float64)]
    assert DETECTORS["react"].score(seen, fitted("react", data)) == pytest.approx(expected, abs=1e-5)


def mahalanobis_formula(data: FitData, seen: Outputs) -> list[float]:
    """Minus the smallest squared distance, with scikit-learn's covariance, class by class."""
    x = data.train.features.astype(np.float64)
    means = {label: x[data.train_labels == label].mean(axis=0) for label in set(data.train_labels.tolist())}
    centred = x - np.stack([means[label] for label in data.train_labels.tolist()])
    precision = EmpiricalCovariance(assume_centered=True).fit(centred).get_precision()
    return [
        -min(float((row - mean) @ precision @ (row - mean)) for mean in means.values())
        for row in seen.features.astype(np.float64)
    ]


def test_mahalanobis_is_the_distance_to_the_nearest_class_mean(data: FitData, seen: Outputs) -> None:
    """One covariance for all classes, on the features the heads read."""
    expected = mahalanobis_formula(data, seen)
    assert DETECTORS["mahalanobis"].score(seen, fitted("mahalanobis", data)) == pytest.approx(expected, rel=5e-3)


def test_mahalanobis_leaves_directions_without_variance_out(data: FitData, seen: Outputs) -> None:
    """A dead feature makes the covariance singular; the pseudo-inverse gives it no weight."""
    dead = data.train.features.copy()
    dead[:, 5] = 0
    without = replace(data, train=replace(data.train, features=dead))
    expected = mahalanobis_formula(without, seen)
    got = DETECTORS["mahalanobis"].score(seen, fitted("mahalanobis", without))
    assert np.isfinite(got).all()
    assert got == pytest.approx(expected, rel=5e-3)


def test_mahalanobis_fits_where_a_class_has_no_training_picture(data: FitData, seen: Outputs) -> None:
    """Its mean does not exist, and the other classes' distances stay finite."""
    labels = np.where(data.train_labels == 3, 4, data.train_labels)
    statistics = fitted("mahalanobis", replace(data, train_labels=labels))
    assert len(statistics["means"]) == len(set(labels.tolist()))
    assert np.isfinite(DETECTORS["mahalanobis"].score(seen, statistics)).all()


def test_the_inverse_factor_is_triangular_and_gives_the_pseudo_inverse() -> None:
    """R.T @ R, also of a singular covariance."""
    rows = np.random.default_rng(0).normal(size=(6, 9))
    covariance = rows.T @ rows  # rank 6 of 9
    factor = mahalanobis.inverse_factor(covariance)
    assert np.array_equal(factor, np.triu(factor))
    np.testing.assert_allclose(factor.T @ factor, np.linalg.pinv(covariance, hermitian=True), atol=1e-12)


def test_knn_is_the_distance_to_the_kth_nearest_of_the_bank(data: FitData, seen: Outputs) -> None:
    """On the unit sphere; k is 0.4 % of the bank, 3 of 700."""
    data = replace(data, train=pictures(data.train.head, 700, seed=6)[0])
    bank = [row / np.linalg.norm(row) for row in data.train.features.astype(np.float64)]
    expected = []
    for row in seen.features.astype(np.float64):
        unit = row / np.linalg.norm(row)
        expected.append(-sorted(float(np.linalg.norm(unit - other)) for other in bank)[2])
    statistics = fitted("knn", data)
    assert statistics["bank"].shape == data.train.features.shape
    assert DETECTORS["knn"].score(seen, statistics) == pytest.approx(expected, abs=3e-3)


def test_the_bank_is_a_sample_that_does_not_change(data: FitData) -> None:
    """At most 1,000 pictures, in one byte a number, the same ones each time."""
    many = replace(data.train, features=np.tile(data.train.features, (5, 1)))
    banks = [fitted("knn", replace(data, train=many))["bank"] for _ in range(2)]
    assert banks[0].shape == (1000, data.train.features.shape[1])
    assert banks[0].dtype.itemsize == 1
    assert np.array_equal(*banks)


def vim_parts(data: FitData, features: NDArray[np.float32]) -> tuple[float, list[float]]:
    """Alpha, and each picture's residual: the norm of its projection on the minor eigenvectors, vector by vector."""
    weight, bias = data.train.head.weight.astype(np.float64), data.train.head.bias.astype(np.float64)
    origin = -np.linalg.pinv(weight) @ bias
    covariance = (
        EmpiricalCovariance(assume_centered=True).fit(data.train.features.astype(np.float64) - origin).covariance_
    )
    values, vectors = np.linalg.eig(covariance)
    principal = covariance.shape[0] // 2  # fewer than 768 features
    minor = [vectors[:, index].real for index in np.argsort(-values.real)[principal:]]

    def residual(row: NDArray[np.float32]) -> float:
        return math.sqrt(sum(float((row - origin) @ vector) ** 2 for vector in minor))

    largest = [float(max(weight @ row + bias)) for row in data.train.features]
    alpha = sum(largest) / sum(residual(row) for row in data.train.features)
    return alpha, [residual(row) for row in features]


def test_vim_is_energy_less_the_scaled_residual(data: FitData, seen: Outputs) -> None:
    """LSE(z) - alpha |(x - u) N|, u where the flat logits vanish, N beyond the principal dimension."""
    alpha, residuals = vim_parts(data, seen.features)
    energies = [log_sum_exp(row) for row in seen.flat_logits.astype(np.float64)]
    expected = [energy - alpha * residual for energy, residual in zip(energies, residuals, strict=True)]
    assert DETECTORS["vim"].score(seen, fitted("vim", data)) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize(("features", "principal"), [(4096, 1000), (2048, 1000), (1024, 512), (768, 512), (700, 350)])
def test_the_principal_dimension_follows_the_authors(features: int, principal: int) -> None:
    """1,000 from 2,048 features on, 512 from 768 on, else half."""
    assert vim.principal_dimension(features) == principal


def test_mos_residual_is_the_sum_of_two_standardised_scores(data: FitData, seen: Outputs) -> None:
    """Log-odds of the best group and ViM's residual, each less its mean over held-out pictures, by its deviation."""

    def log_odds(outputs: Outputs) -> NDArray[np.float64]:
        return np.array([max(math.log((1 - p) / p) for p in row) for row in outputs.others_scores.tolist()])

    _, seen_residuals = vim_parts(data, seen.features)
    _, held_out_residuals = vim_parts(data, data.held_out.features)
    reference = log_odds(data.held_out)
    confidence = (log_odds(seen) - reference.mean()) / reference.std()
    strangeness = (np.array(seen_residuals) - np.mean(held_out_residuals)) / np.std(held_out_residuals)
    got = DETECTORS["mos_residual"].score(seen, fitted("mos_residual", data))
    assert got == pytest.approx(confidence - strangeness, abs=5e-3)


def test_mos_residual_is_finite_where_others_scores_are_0_or_1(data: FitData, seen: Outputs) -> None:
    """Where float32 has rounded a probability away, the log-odds stop at what float32 can tell."""
    others = np.tile(np.array([[1, 1, 1], [0, 1, 1]], np.float32), (25, 1))
    certain = replace(seen, others_scores=others, features=np.repeat(seen.features[:1], 50, axis=0))
    scores = DETECTORS["mos_residual"].score(certain, fitted("mos_residual", data))
    assert np.isfinite(scores).all()
    assert scores[1] > scores[0]
