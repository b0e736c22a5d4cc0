"""A feature extractor of another kind, as ONNX, becomes a guard by `train`: groups, threshold, canaries and service."""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from service.bundle import Bundle, read_bundle
from service.inference.engine import Engine
from tests.made_once import made_once
from tests.training.test_pipeline import run
from training.bundling.canaries import pixels_of
from training.bundling.graph import TOLERANCE
from training.commands.defaults import DECIDES_OWN
from training.detectors import DETECTORS
from training.fitting.run import load_run
from training.fitting.train import train
from training.model.onnx_extractor import OnnxExtractor
from training.scoring.session import Session

pytestmark = pytest.mark.numeric

SIDE = 32
HALVES = ("--mean", "0.5", "--std", "0.5")


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vision transformer with random weights, whose class token is one of two outputs."""

    def export(folder: Path) -> None:
        transformers = pytest.importorskip("transformers", reason="transformers, the other kind, is not installed")
        torch.manual_seed(0)
        model = transformers.ViTModel(
            transformers.ViTConfig(
                hidden_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                image_size=SIDE,
                patch_size=8,
                return_dict=False,
            )
        )
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                model.eval(),
                (torch.zeros(2, 3, SIDE, SIDE),),
                folder / "vit.onnx",
                input_names=["pixel_values"],
                output_names=["tokens", "pooled"],
                dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
                verbose=False,
            )

    return made_once(tmp_path_factory, "vit", export) / "vit.onnx"


@pytest.fixture(scope="session")
def trained(vit: Path, demo_data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `train` on it; read it, do not change it."""

    def fit(folder: Path) -> None:
        assert run(*command(vit, demo_data["train"], folder / "run")) == 0

    return made_once(tmp_path_factory, "own_model", fit) / "run"


def command(vit: Path, data: Path, out: Path) -> list[object]:
    """`train` on the transformer."""
    options = ["--feature-output", "pooled", *HALVES, "--calibration", 0.4, "--epochs", 20, "--grouping", "clusters:3"]
    return ["train", "--backbone", f"onnx:{vit}", "--data", data, "--out", out, *options]


@pytest.fixture(scope="session")
def bundle(trained: Path) -> Bundle:
    """What is served."""
    return read_bundle(trained / "bundle")


def test_it_has_groups_what_decides_a_threshold_and_foretold_siblings(bundle: Bundle) -> None:
    """All that a guard on our own backbones has."""
    manifest = bundle.manifest
    assert (manifest.backbone, manifest.decided_by, len(manifest.groups)) == ("onnx:vit.onnx", DECIDES_OWN, 3)
    assert manifest.input.height == SIDE
    assert bundle.calibration is not None
    assert {"held_out", "siblings"} <= set(manifest.metrics)


def test_the_provenance_is_the_files_hash_and_how_pictures_enter_it(bundle: Bundle, vit: Path) -> None:
    """Who holds the file can tell that it is the one, and no folder of the machine is named."""
    weights = str(bundle.manifest.training["weights"])
    assert f"vit.onnx (sha256 {hashlib.sha256(vit.read_bytes()).hexdigest()})" in weights
    assert "pixels / 255 less 0.5, divided by 0.5 (as typed); features are pooled" in weights
    assert str(vit.parent) not in json.dumps(bundle.manifest.model_dump(mode="json"))


def test_the_served_features_are_the_graphs_own(bundle: Bundle, trained: Path) -> None:
    """In one file with the heads, on pictures that are no canaries."""
    extractor = load_run(trained).network.backbone
    assert isinstance(extractor, OnnxExtractor)
    images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    rows = Session(bundle.model_path.read_bytes()).run(images)
    expected = extractor.features(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(rows["features"], expected, rtol=1e-4, atol=1e-5)


def test_the_service_runs_it_and_its_canaries_agree(bundle: Bundle) -> None:
    """Its engine, on the encoded canaries."""
    engine = Engine(bundle, provider="cpu")
    for canary in bundle.canaries:
        row = engine.predict(pixels_of(canary.encoded, bundle.manifest.input)[None])[0]
        assert row.score == pytest.approx(canary.score, abs=10 * TOLERANCE)


def test_a_run_resumes_with_its_graph_and_another_mean_is_another_run(
    trained: Path, vit: Path, demo_data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same settings take up the finished run's last step and leave its heads as they are."""
    finished = load_run(trained)
    train(finished.config, finished.config.read())
    assert "resuming at step" in capsys.readouterr().err
    after = load_run(trained).network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in finished.network.state_dict().items())
    assert run(*command(vit, demo_data["train"], trained), "--mean", "0.4") == 1
    assert "are of other data, weights or views" in capsys.readouterr().err


def test_evaluate_says_which_detector_needs_gradients(
    bundle: Bundle, demo_data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ODIN alone is left out; asked for by name, it is an error."""
    sets = ["--id", demo_data["test"], "--ood", f"stripes={demo_data['stripes']}"]
    assert run("evaluate", "--bundle", bundle.path, *sets, "--out", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(DETECTORS) - set(results) == {"odin"}
    reason = "odin cannot run: it needs gradients, and onnx:vit.onnx is an ONNX graph, which gives none"
    assert reason in capsys.readouterr().err
    assert run("evaluate", "--bundle", bundle.path, *sets, "--out", tmp_path, "--detectors", "odin") == 1
    assert reason in capsys.readouterr().err


def test_heads_may_be_fitted_on_pictures_too(vit: Path, demo_data: dict[str, Path], tmp_path: Path) -> None:
    """`--online` runs the graph anew at each step."""
    options = ["--online", "--epochs", 1, "--grouping", "random:3", "--workers", 0]
    assert run(*command(vit, demo_data["train"], tmp_path / "run"), *options) == 0
    assert read_bundle(tmp_path / "run" / "bundle").manifest.decided_by == "mos"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--open-blocks", "1"], "is an ONNX graph, which is not fitted itself; leave out --open-blocks"),
        (["--weights", "BiT-S-R50x1"], "holds its own weights; leave out --weights"),
        (["--size", "48"], "it takes pictures of 32 x 32 pixels alone; leave out --size"),
    ],
)
def test_what_a_graph_cannot_do_is_refused_at_once(
    vit: Path,
    demo_data: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    """Before a picture is read."""
    assert run(*command(vit, demo_data["train"], tmp_path / "run"), *options) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_of_a_graph_are_for_graphs(
    demo_data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mean beside a backbone that has its own would do nothing."""
    assert run("train", "--data", demo_data["train"], "--out", tmp_path, "--mean", "0.5") == 1
    assert "--mean is for --backbone onnx:FILE" in capsys.readouterr().err
