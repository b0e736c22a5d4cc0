"""The commands, one after the other, as a person runs them."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from service.bundle import Bundle, read_bundle
from service.inference.engine import Engine
from service.preprocess import decode
from training import __main__ as cli
from training.commands.defaults import DECIDES_OWN
from training.data.demo import write_demo_data
from training.data.sets import read_data_set, read_pictures
from training.detectors import DETECTORS
from training.gradients import layered_mahalanobis
from training.model.efficientnet_lite import LITE0
from training.scoring.pictures import score_pictures

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def bundle(finished_run: Path, exported: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported, and calibrated by the command."""
    out = shutil.copytree(exported.path, tmp_path_factory.mktemp("calibrated") / "bundle")
    assert run("calibrate", "--bundle", out, "--data", finished_run / "calibration.txt") == 0
    return out


def test_evaluate_writes_figures_that_follow_from_the_scores(
    bundle: Path, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """results.json is scikit-learn's AUROC of scores.npz, the tables and pictures are there, the manifest has them."""
    stripes = f"stripes={demo_data['stripes']}"
    assert (
        run("evaluate", "--bundle", bundle, "--id", demo_data["test"], "--ood", stripes, "--out", tmp_path, "--record")
        == 0
    )
    results = json.loads((tmp_path / "results.json").read_text())
    with np.load(tmp_path / "scores.npz") as scores:
        for detector in ("mos", "msp", "energy"):
            id_scores, ood_scores = scores[f"id/{detector}"], scores[f"stripes/{detector}"]
            labels = np.concatenate([np.ones(len(id_scores)), np.zeros(len(ood_scores))])
            expected = roc_auc_score(labels, np.concatenate([id_scores, ood_scores]))
            assert results[detector]["stripes"]["auroc"] == pytest.approx(expected)
    for name in ("results.md", "results.csv", "roc.png", "scores.png", "others.png"):
        assert (tmp_path / name).stat().st_size > 0
    recorded = read_bundle(bundle)
    assert recorded.manifest.metrics["ood"]["mos"]["stripes"]["n_out"] == 50
    assert recorded.calibration is not None
    assert recorded.canaries
    assert set(recorded.card) == {"card.md", "card.png"}


def test_calibrate_tells_what_gets_in_inside_the_services_image(
    exported: Bundle, finished_run: Path, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """Without torch, scikit-learn and matplotlib: the figures on standard output, the card without its picture."""
    out = shutil.copytree(exported.path, tmp_path / "bundle")
    options = ["--bundle", out, "--data", finished_run / "calibration.txt", "--strangers", f"s={demo_data['stripes']}"]
    program = f"""
import sys
sys.modules.update(dict.fromkeys(("sklearn", "matplotlib", "onnx")))  # as if they were not installed
from training.__main__ import main
try:
    main({[str(option) for option in ("calibrate", *options)]})
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    calibrated = read_bundle(out)
    assert calibrated.calibration is not None
    for point in calibrated.calibration.operating_points:
        assert f"{100 * point.strangers['s'].scaled.share:.1f} %" in done.stdout
    assert set(calibrated.card) == {"card.md"}
    assert "matplotlib" in done.stderr


def scores_of(bundle: Path, demo_data: dict[str, Path], out: Path, *options: object) -> np.ndarray:
    """A detector's ID scores as `evaluate` writes them."""
    sets = ("--id", demo_data["test"], "--ood", f"stripes={demo_data['stripes']}")
    assert run("evaluate", "--bundle", bundle, *sets, "--out", out, *options) == 0
    with np.load(out / "scores.npz") as scores:
        return scores[f"id/{options[1]}"]


def test_every_detector_runs_from_an_exported_bundle(bundle: Path, demo_data: dict[str, Path], tmp_path: Path) -> None:
    """`--detectors all` needs nothing but the bundle, odin's step and all statistics included."""
    sets = ("--id", demo_data["test"], "--ood", f"stripes={demo_data['stripes']}")
    assert run("evaluate", "--bundle", bundle, *sets, "--out", tmp_path) == 0
    assert set(json.loads((tmp_path / "results.json").read_text())) == set(DETECTORS)


def test_mahalanobis_as_the_paper_has_it_is_fitted_on_pictures(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """D8 and B2: three different detectors; without pictures to fit on, a sentence that asks for them."""
    monkeypatch.setattr(layered_mahalanobis, "EPSILONS", (0.0, 0.002))
    few = write_demo_data(tmp_path / "few", per_class=15, seed=1)
    options = ("--detectors", "mahalanobis", "--fit", few["train"])
    scores = [
        scores_of(bundle, few, tmp_path / "out", *options, *settings)
        for settings in (
            (),
            ("--setting", "mahalanobis=paper"),
            ("--setting", "mahalanobis=official"),
            ("--setting", "mahalanobis=official", "--setting", "adversarial_clamp=official"),
        )
    ]
    assert all(not np.array_equal(one, other) for one, other in itertools.combinations(scores, 2))
    sets = ("--id", few["test"], "--ood", f"s={few['stripes']}")
    chosen = ("--detectors", "mahalanobis", "--setting", "mahalanobis=paper", "--out", tmp_path)
    assert run("evaluate", "--bundle", bundle, *sets, *chosen) == 1
    assert "--fit" in capsys.readouterr().err


def test_templates_are_of_the_pictures_that_the_setting_names(
    bundle: Path, finished_run: Path, demo_data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """D9: the test pictures in the authors' way, the held-out ones by prediction where the bundle was exported so."""
    options = ("--detectors", "kl_matching")
    corrected = scores_of(bundle, demo_data, tmp_path / "a", *options)
    official = scores_of(bundle, demo_data, tmp_path / "b", *options, "--setting", "kl_templates=official")
    assert not np.array_equal(corrected, official)
    sets = ("--id", demo_data["test"], "--ood", f"s={demo_data['stripes']}", "--out", tmp_path)
    as_the_paper = ("--setting", "kl_templates=paper")
    assert run("evaluate", "--bundle", bundle, *sets, *options, *as_the_paper) == 1
    assert "--setting kl_templates=paper" in capsys.readouterr().err
    other = tmp_path / "bundle"
    assert run("export", "--run", finished_run, "--out", other, "--name", "shapes", *as_the_paper) == 0
    by_prediction = scores_of(other, demo_data, tmp_path / "c", *options, *as_the_paper)
    assert not np.array_equal(corrected, by_prediction)


def test_a_users_folder_trains_from_the_bundles_frozen_backbone(
    bundle: Path, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """`train` with weights and clusters fits heads only, and its bundle is served like any other."""
    options = ("--weights", bundle, "--grouping", "clusters:2", "--epochs", 5, "--outliers", "none")
    options = (*options, "--jpeg-scale", "full")
    assert run("train", "--data", demo_data["train"], "--out", tmp_path / "run", *options) == 0
    manifest = read_bundle(tmp_path / "run" / "bundle").manifest
    assert len(manifest.groups) == 2
    assert manifest.training["open_blocks"] == 0
    assert manifest.input.jpeg_scale == "full"


def test_evaluate_judges_what_decides_by_the_served_score(
    frozen_bundle: Bundle, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """Its row is there beside MOS, and its scores are the graph's `score`, to the bit."""
    scores_of(frozen_bundle.path, demo_data, tmp_path, "--detectors", "mos")
    decided_by = frozen_bundle.manifest.decided_by
    assert decided_by == DECIDES_OWN
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"mos", decided_by}
    served = {
        "id": score_pictures(frozen_bundle, read_data_set(demo_data["test"]), ["score", "mos"]),
        "stripes": score_pictures(frozen_bundle, read_pictures(demo_data["stripes"]), ["score", "mos"]),
    }
    with np.load(tmp_path / "scores.npz") as scores:
        for name, rows in served.items():
            assert (scores[f"{name}/{decided_by}"] == rows["score"]).all()
            np.testing.assert_allclose(scores[f"{name}/mos"], rows["mos"], rtol=0, atol=1e-6)
    labels = np.repeat([1, 0], [len(served["id"]["score"]), len(served["stripes"]["score"])])
    expected = roc_auc_score(labels, np.concatenate([served["id"]["score"], served["stripes"]["score"]]))
    assert results[decided_by]["stripes"]["auroc"] == pytest.approx(expected)


def test_nothing_but_a_folder_gives_a_calibrated_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ImageNet features, made outliers, the joined statistic, JPEGs reduced; the engine agrees with the calibration."""
    monkeypatch.setattr("training.fitting.train.PROCEDURAL_FEATURES", 60)
    data, out = tmp_path / "data", tmp_path / "run"
    write_three_classes(data)
    options = ("--size", 96, "--epochs", 8, "--calibration", 0.4, "--views", 1)
    assert run("train", "--data", data, "--out", out, *options) == 0
    bundle = read_bundle(out / "bundle")
    assert bundle.manifest.backbone == LITE0
    assert bundle.manifest.decided_by == DECIDES_OWN
    assert bundle.manifest.input.jpeg_scale == "reduced"
    assert set(bundle.manifest.training["outliers"]) == {"procedural"}
    calibration = bundle.calibration
    assert calibration is not None
    held_out = read_pictures(out / "calibration.txt")
    assert calibration.n == len(held_out) >= 59
    assert f"threshold {calibration.threshold:.6f}" in capsys.readouterr().err

    calibrated = np.sort(score_pictures(bundle, held_out, ["score"])["score"])
    engine = Engine(bundle, provider="cpu", max_batch_size=len(held_out))
    pixels = np.stack([decode((held_out.root / path).read_bytes(), height=96, width=96) for path in held_out.paths])
    served = np.sort([row.score for row in engine.predict(pixels)])
    np.testing.assert_allclose(served, calibrated, rtol=1e-3, atol=1e-3)
    assert calibration.threshold == pytest.approx(calibrated[calibration.k - 1], rel=1e-3, abs=1e-3)
    assert calibration.reference.scores == pytest.approx(
        calibrated[np.array(calibration.reference.ranks) - 1], abs=1e-3
    )


def write_three_classes(folder: Path) -> None:
    """Sixty pictures of 32 pixels of each: gratings, discs and noise, each with chance in it."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:32, 0:32]
    for name in ("grating", "disc", "noise"):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            colour, (x, y) = random.uniform(60, 250, 3), random.uniform(8, 24, 2)
            if name == "grating":
                angle = random.uniform(0, np.pi)
                shade = 0.5 + 0.5 * np.sin((rows * np.cos(angle) + columns * np.sin(angle)) * random.uniform(0.5, 1.5))
            elif name == "disc":
                shade = ((rows - y) ** 2 + (columns - x) ** 2 < random.uniform(4, 9) ** 2).astype(float)
            else:
                shade = random.uniform(0, 1, (32, 32))
            noisy = shade[:, :, None] * colour + random.normal(0, 4, (32, 32, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index:02d}.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("calibrate", "--bundle", "nowhere", "--data", "x"), "nowhere"),
        (("recalibrate", "--bundle", "nowhere", "--data", "x"), "nowhere"),
        (("export", "--run", "nowhere", "--out", "x", "--name", "n"), "nowhere"),
        (("train", "--data", "nowhere", "--out", "x", "--open-blocks", "all", "--backbone", "R11-tiny"), "nowhere"),
        (("calibrate", "--bundle", "x", "--data", "x", "--strangers", "=x"), "NAME=PATH"),
        (("groups",), "--taxonomy"),
        (("groups", "--taxonomy", "klingon"), "klingon"),
    ],
)
def test_what_is_wrong_is_one_sentence_on_standard_error(
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit status 1, the thing named, no traceback, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_groups_prints_a_taxonomy_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty groups of five."""
    assert run("groups", "--taxonomy", "cifar100", "--json") == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [len(group["classes"]) for group in groups] == [5] * 20
