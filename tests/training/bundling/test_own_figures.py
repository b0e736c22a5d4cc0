"""What a run tells of itself at export: into the manifest, and to the person."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from service.bundle import Bundle
from training.bundling import own_figures as module
from training.bundling.card import siblings_of
from training.bundling.own_figures import own_figures
from training.bundling.own_pictures import own_pictures
from training.bundling.suspects import SHOWN
from training.data.sets import read_pictures
from training.fitting.run import load_run
from training.model.onnx_graph import fold
from training.scoring.pictures import score_pictures

pytestmark = pytest.mark.numeric


def figures_of(run_path: Path) -> dict[str, object]:
    """As export asks for them."""
    run = load_run(run_path)
    folded, parts = fold(run.network), run.split()
    return own_figures(run, folded, own_pictures(run, folded, parts), parts)


def test_the_manifest_keeps_accuracy_and_unseen_siblings(frozen_bundle: Bundle, frozen_run: Path) -> None:
    """Accuracy is the served graph's on what the run held out; siblings are in the form that the card reads."""
    parts = load_run(frozen_run).split()
    right: list[bool] = []
    for part in (parts.calibration, parts.validation):
        right += (score_pictures(frozen_bundle, part, ["class_index"])["class_index"] == part.labels).tolist()
    metrics = frozen_bundle.manifest.metrics
    assert metrics["held_out"]["pictures"] == len(right)
    assert metrics["held_out"]["top1"] == pytest.approx(np.mean(right), abs=1.5 / len(right))
    found = siblings_of(frozen_bundle.manifest)
    assert found is not None
    assert [share.tpr for share in found.let_in] == [0.95, 0.90, 0.80]
    assert metrics["siblings"]["pictures"] == len(parts.whole)


def test_foreign_pictures_that_look_most_like_a_class_are_named(
    frozen_run: Path, frozen_bundle: Bundle, demo_data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of which the served graph is surest, the surest first, with the class that they are taken for."""
    figures_of(frozen_run)
    lines = [line.split() for line in capsys.readouterr().err.splitlines() if str(demo_data["stripes"]) in line]
    foreign = read_pictures(demo_data["stripes"])
    rows = score_pictures(frozen_bundle, foreign, ["class_probability", "class_index"])
    probability = dict(
        zip((str(foreign.root / path) for path in foreign.paths), rows["class_probability"], strict=True)
    )
    named = [line[-1] for line in lines]
    assert len(set(named)) == SHOWN
    surest = sorted(probability.values(), reverse=True)[:SHOWN]
    np.testing.assert_allclose([probability[path] for path in named], surest, atol=2e-3)
    np.testing.assert_allclose([float(line[0]) for line in lines], surest, atol=2e-3)


def test_a_fitted_backbone_tells_of_its_accuracy_alone(finished_run: Path) -> None:
    """Unseen siblings need heads to be fitted anew, on features that stay."""
    assert set(figures_of(finished_run)) == {"held_out"}


def test_a_large_set_is_spared_the_folds(frozen_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what fits in memory only accuracy is told."""
    monkeypatch.setattr(module, "MOST_PICTURES", 10)
    assert set(figures_of(frozen_run)) == {"held_out"}


def test_too_few_pictures_for_folds_leave_the_figures_out(frozen_run: Path, tmp_path: Path) -> None:
    """Rather than a figure that means nothing: nine calibration pictures promise no TPR."""
    run = shutil.copytree(frozen_run, tmp_path / "run")
    with np.load(run / "split.npz") as saved:
        arrays = dict(saved)
    held_out = np.flatnonzero(arrays["part"] == 1)
    arrays["part"][held_out[9:]] = 2
    np.savez(run / "split.npz", **arrays)
    assert set(figures_of(run)) == {"held_out"}
