"""The graph computes the statistic that decides: the same number as on its own features and logits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.training.weights.own_graph.graphs import graph, write
from training.bundling.graph import OUTPUTS, SCORE_TOLERANCE, Guard, check_parity
from training.commands.defaults import DECIDES_OWN
from training.decision.statistic import MOS, PARTS, Material, Statistic, fit_statistic, scores
from training.errors import ExportError
from training.grouping.groups import Grouping
from training.model.backbone import Backbone
from training.model.half import convolve_in_half
from training.model.network import Network
from training.model.onnx_graph import fold
from training.scoring.session import Session
from training.weights.own_graph.reading import GraphOptions, read_own_graph

pytestmark = pytest.mark.numeric

GROUPS = Grouping(("a", "b"), ((0, 2), (1, 3)))
SIDE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (41, SIDE, SIDE, 3), np.uint8)
STATISTICS = (*(name for name in PARTS if name != MOS), DECIDES_OWN)


class OneConvolution(Backbone):
    """The smallest backbone, since it is exported for each statistic."""

    name = "one-convolution"
    feature_size = 12
    block_count = 0
    centre = spread = 127.5

    def __init__(self) -> None:
        super().__init__()
        self.root = nn.Conv2d(3, self.feature_size, 5)

    def tail(self) -> nn.Module:
        return self.root

    def forward(self, x: Tensor) -> Tensor:
        return self.root(x).relu().mean(dim=(2, 3))


@dataclass(frozen=True)
class Served:
    """A network with a statistic, and what ONNX Runtime gives of it for `IMAGES`."""

    guard: Guard
    statistic: Statistic
    rows: dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def folded() -> Network:
    """A small network with heads that say something."""
    torch.manual_seed(0)
    network = Network(OneConvolution(), GROUPS)
    for head in (network.flat, network.group.linear):
        nn.init.normal_(head.weight)
    return fold(network)


@pytest.fixture(scope="module", params=STATISTICS)
def served(request: pytest.FixtureRequest, folded: Network) -> Served:
    """Fitted to features of other random pictures, and exported."""
    pictures = np.random.default_rng(1).integers(0, 256, (60, SIDE, SIDE, 3), np.uint8)
    with torch.no_grad():
        features = folded(torch.from_numpy(pictures)).numpy()
    material = Material(features[:40], np.arange(40) % 4, features[40:])
    statistic = fit_statistic(request.param, folded.group, material, seed=0)
    assert statistic is not None
    guard = Guard(folded, statistic)
    return Served(guard, statistic, Session(guard.to_onnx(SIDE)).run(IMAGES))


def test_the_score_is_the_statistic_of_the_graphs_own_features(folded: Network, served: Served) -> None:
    """As `scores` has it, which figures on cached features are made with."""
    expected = scores(folded.group, served.statistic, torch.from_numpy(served.rows["features"]))
    np.testing.assert_allclose(served.rows["score"], expected.numpy(), rtol=0, atol=SCORE_TOLERANCE)
    assert served.rows["score"].std() > 10 * SCORE_TOLERANCE, "scores that are all alike prove nothing"


def test_mos_stays_beside_it(served: Served) -> None:
    """The paper's score, exactly, whatever decides."""
    np.testing.assert_array_equal(served.rows["mos"], -served.rows["others_scores"].min(axis=1))


def test_what_the_bundle_says_gives_the_score_again(served: Served) -> None:
    """Each part less its mean, by its deviation, times its weight, summed."""
    features, logits = (torch.from_numpy(served.rows[name]) for name in ("features", "logits"))
    with torch.no_grad():
        values = {part.name: part(features, logits).double().numpy() for part in served.statistic._parts}
    described = served.statistic.described()
    assert described.statistic.split("+") == [part.name for part in described.parts] == list(values)
    expected = sum(part.weight * (values[part.name] - part.mean) / part.deviation for part in described.parts)
    np.testing.assert_allclose(served.rows["score"], expected, rtol=0, atol=SCORE_TOLERANCE)


def test_a_score_that_differs_stops_the_export(served: Served) -> None:
    """Within a thousandth of a deviation it is rounding, beyond it another model."""
    check_parity(served.guard, IMAGES, served.rows)
    with pytest.raises(ExportError, match="score differs"):
        check_parity(served.guard, IMAGES, served.rows | {"score": served.rows["score"] + 3 * SCORE_TOLERANCE})


@pytest.mark.parametrize("opset", [13, 22])
def test_a_graph_of_ones_own_is_served_in_one_file_with_what_is_judged_of_it(tmp_path: Path, opset: int) -> None:
    """Whether its opset is older or newer than ours, and with its convolutions in float16 too."""
    extractor = read_own_graph(write(tmp_path, graph(("n", 3, SIDE, SIDE), opset=opset)), GraphOptions())
    network = Network(extractor, GROUPS)
    nn.init.normal_(network.group.linear.weight)
    guard = Guard(fold(network))
    model = guard.to_onnx(SIDE)
    rows = Session(model).run(IMAGES)
    assert list(rows) == list(OUTPUTS)
    check_parity(guard, IMAGES, rows)
    np.testing.assert_allclose(rows["features"], extractor.features(torch.from_numpy(IMAGES)).numpy(), rtol=1e-4)
    half = Session(convolve_in_half(model)).run(IMAGES)
    np.testing.assert_allclose(half["features"], rows["features"], rtol=0, atol=0.05)
