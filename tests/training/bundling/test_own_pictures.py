"""A run's own pictures, part by part, with the features that the served graph gives of them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle
from training.bundling import own_pictures as module
from training.bundling.own_pictures import OwnPictures, own_pictures
from training.data.pixels import read_rows
from training.data.sets import DataSet
from training.fitting.run import FinishedRun, load_run
from training.model.onnx_graph import fold
from training.scoring.session import Session

PARTS = ("fitted", "calibration", "validation")


def served(bundle: Bundle, data: DataSet) -> NDArray[np.float32]:
    """Features by the bundle's graph."""
    features: NDArray[np.float32] = Session(bundle.model_path.read_bytes()).run(
        read_rows(data, np.arange(len(data)), height=32, width=32)
    )["features"]
    return features


def of(run: FinishedRun) -> OwnPictures:
    """All of its pictures."""
    return own_pictures(run, fold(run.network), run.split())


@pytest.mark.numeric
@pytest.mark.parametrize("kind", ["frozen", "fitted"])
def test_features_are_those_that_the_graph_gives(
    kind: str, frozen_run: Path, frozen_bundle: Bundle, finished_run: Path, exported: Bundle
) -> None:
    """From the cache of a frozen backbone, and from a backbone that was fitted: the served ones, row by row."""
    folder, bundle = (frozen_run, frozen_bundle) if kind == "frozen" else (finished_run, exported)
    own = of(load_run(folder))
    for part in PARTS:
        sample = getattr(own, part)
        np.testing.assert_allclose(sample.features, served(bundle, sample.data), rtol=1e-3, atol=1e-3)


def test_parts_are_those_of_the_runs_split(frozen_run: Path) -> None:
    """No picture of one part is taken for one of another."""
    run = load_run(frozen_run)
    own, parts = of(run), run.split()
    for part in PARTS:
        assert list(getattr(own, part).data.paths) == list(getattr(parts, part).paths)


def test_a_large_part_is_a_sample_that_the_seed_draws(frozen_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features stay with their pictures, and the same ones are drawn again."""
    run = load_run(frozen_run)
    whole = of(run).fitted
    monkeypatch.setattr(module, "MOST_PICTURES", 10)
    some, again = of(run).fitted, of(run).fitted
    assert len(set(some.data.paths)) == 10
    assert list(some.data.paths) == list(again.data.paths)
    place = {path: row for row, path in enumerate(whole.data.paths)}
    assert (some.features == whole.features[[place[path] for path in some.data.paths]]).all()
