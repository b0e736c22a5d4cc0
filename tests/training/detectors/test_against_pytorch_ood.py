"""Detectors against pytorch-ood 0.4.0, an independent implementation: `pip install --no-deps pytorch-ood==0.4.0`.

It imports torchvision for parts that are not used here, and torchvision would bring another torch, so where it is
absent an empty module stands for it. pytorch-ood's scores are higher for OOD and are negated.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.float64 import in_float64
from training.detectors import DETECTORS, FitData, Outputs, vim
from training.gradients.perturbation import perturbed_logits
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network

pytestmark = pytest.mark.numeric


class EmptyModule(ModuleType):
    """Every name that is imported from it is an empty class."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class EmptyTorchvision(MetaPathFinder, Loader):
    """Finds torchvision and whatever is imported below it."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "torchvision" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return EmptyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@pytest.fixture(scope="module")
def oracle() -> Iterator[Any]:
    """pytorch_ood.detector."""
    if importlib.util.find_spec("pytorch_ood") is None:
        pytest.skip("pytorch-ood is not installed: pip install --no-deps pytorch-ood==0.4.0")
    finder = EmptyTorchvision()
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(finder)
    with warnings.catch_warnings(action="ignore"):
        yield importlib.import_module("pytorch_ood.detector")
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)
    for name in [name for name in sys.modules if isinstance(sys.modules[name], EmptyModule)]:
        del sys.modules[name]


def ours(name: str, data: FitData, seen: Outputs) -> np.ndarray:
    """One detector of ours, fitted where it needs that."""
    entry = DETECTORS[name]
    return entry.score(seen, entry.fit(data) if entry.fit else {})


def tensors(outputs: Outputs) -> tuple[Tensor, Tensor]:
    """Features and flat logits in float64."""
    return torch.from_numpy(outputs.features).double(), torch.from_numpy(outputs.flat_logits).double()


@pytest.mark.parametrize(
    ("name", "theirs", "factor"),
    [("msp", "MaxSoftmax", 1), ("energy", "EnergyBased", 1), ("maxlogit", "MaxLogit", 1), ("gen", "GEN", 7)],
)
def test_scores_of_logits_alone(oracle: Any, data: FitData, seen: Outputs, name: str, theirs: str, factor: int) -> None:
    """MSP, Energy, MaxLogit and GEN; their GEN is the mean over the seven classes and clamps p at 1e-7, met by none."""
    soft = replace(seen, flat_logits=seen.flat_logits / 4)
    expected = -factor * getattr(oracle, theirs).score(tensors(soft)[1]).numpy()
    assert ours(name, data, soft) == pytest.approx(expected, rel=1e-9)


def test_kl_matching(oracle: Any, data: FitData, seen: Outputs) -> None:
    """Theirs takes the predicted class, our setting `paper`."""
    theirs = oracle.KLMatching(None).fit_logits(tensors(data.held_out)[1])
    paper = FitData(data.train, data.train_labels, data.held_out, data.held_out_labels, "paper")
    expected = -theirs.predict_logits(tensors(seen)[1]).numpy()
    assert ours("kl_matching", paper, seen) == pytest.approx(expected, abs=1e-5)


def test_mahalanobis(oracle: Any, data: FitData, seen: Outputs) -> None:
    """Theirs does not divide the covariance by N and keeps the half of the exponent: a factor of N / 2."""
    features, _ = tensors(data.train)
    theirs = oracle.Mahalanobis(None).fit_features(features.float(), torch.from_numpy(data.train_labels))
    expected = -theirs.predict_features(tensors(seen)[0].float()).numpy() * 2 * len(features)
    assert ours("mahalanobis", data, seen) == pytest.approx(expected, rel=5e-3)


def test_knn(oracle: Any, data: FitData, seen: Outputs) -> None:
    """A bank of 300 has k = 1; ours keeps the bank in one byte a number."""
    theirs = oracle.KNN(None, k=1).fit_features(tensors(data.train)[0], torch.from_numpy(data.train_labels))
    assert ours("knn", data, seen) == pytest.approx(-theirs.predict_features(tensors(seen)[0]).numpy(), abs=3e-3)


def test_vim(oracle: Any, data: FitData, seen: Outputs) -> None:
    """With the same principal dimension."""
    head = data.train.head
    dimension = vim.principal_dimension(head.weight.shape[1])
    theirs = oracle.ViM(None, dimension, torch.from_numpy(head.weight), torch.from_numpy(head.bias))
    theirs.fit_features(tensors(data.train)[0], torch.from_numpy(data.train_labels))
    expected = -theirs.predict_features(tensors(seen)[0].float()).numpy()
    assert ours("vim", data, seen) == pytest.approx(expected, abs=5e-3)


def test_react(oracle: Any, data: FitData, seen: Outputs) -> None:
    """Clipped at the 90 % quantile, then Energy."""
    weight, bias = torch.from_numpy(seen.head.weight), torch.from_numpy(seen.head.bias)
    theirs = oracle.ReAct(lambda x: x, lambda x: x @ weight.T + bias)
    train = torch.from_numpy(data.train.features)
    theirs.fit_feature_maps(train[:, :, None, None], torch.from_numpy(data.train_labels))
    expected = -theirs.predict_feature_maps(torch.from_numpy(seen.features)).numpy()
    assert ours("react", data, seen) == pytest.approx(expected, abs=1e-4)


def test_gradnorm(oracle: Any, data: FitData, seen: Outputs) -> None:
    """Theirs backpropagates to the last layer's weight."""
    model = nn.Linear(*reversed(seen.head.weight.shape)).double()
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(seen.head.weight))
        model.bias.copy_(torch.from_numpy(seen.head.bias))
    theirs = oracle.GradNorm(model, param_filter=lambda name: name == "weight")
    theirs.to("cpu")
    got = ours("gradnorm", data, seen)
    expected = -theirs.predict(tensors(seen)[0]).numpy()
    # Whether the loss sums over classes or averages is a constant factor.
    assert got / expected == pytest.approx(np.full(len(got), got[0] / expected[0]), rel=1e-5)


def test_odin(oracle: Any) -> None:
    """The step and the score, where no gradient is exactly 0 (theirs takes the sign of 0 as 0)."""
    torch.manual_seed(0)
    network = in_float64(Network(backbone("R11-tiny"), Grouping(("a", "b"), ((0, 1, 2), (3, 4)))).eval())
    nn.init.normal_(network.flat.weight, std=0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    moved = perturbed_logits(network, pixels, epsilon=0.01)
    theirs = oracle.ODIN(nn.Sequential(network.backbone, network.flat), eps=0.01, temperature=1000.0, norm_std=None)
    theirs.to("cpu")
    expected = -theirs.predict(network.backbone.normalise(torch.from_numpy(pixels))).detach().numpy()
    got = torch.softmax(torch.from_numpy(moved) / 1000, dim=1).amax(dim=1).numpy()
    assert got == pytest.approx(expected, abs=1e-8)
