"""The exported file computes what the trained network computes, whatever the batch."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from service.bundle import Bundle, read_bundle
from service.inference.engine import Engine
from service.preprocess import decode
from training.bundling.export import export
from training.bundling.graph import OUTPUTS, TOLERANCE, Guard, check_parity
from training.data.splits import CALIBRATION, VALIDATION
from training.errors import CheckpointError, ExportError
from training.fitting.run import load_run
from training.model.backbones import backbone
from training.model.bit import StdConv2d
from training.model.onnx_graph import fold
from training.scoring.session import Session
from training.weights.reading import read_backbone

pytestmark = pytest.mark.numeric

IMAGES = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def bundle(exported: Bundle) -> Bundle:
    """The bundle of the small run."""
    return exported


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> Session:
    """ONNX Runtime over the exported file."""
    return Session(bundle.model_path.read_bytes())


def test_onnx_runtime_computes_what_torch_computes(finished_run: Path, session: Session) -> None:
    """Every output, on pictures that are no canaries; classes that are tied but for rounding may change places."""
    folded = fold(load_run(finished_run).network)
    with torch.no_grad():
        expected = dict(zip(OUTPUTS, Guard(folded)(torch.from_numpy(IMAGES)), strict=True))
    rows = session.run(IMAGES)
    assert list(rows) == list(OUTPUTS)
    for name in ("class_probability", "topk_probability", "others_scores", "mos", "score", "logits", "features"):
        largest = max(1.0, expected[name].abs().max().item())
        np.testing.assert_allclose(rows[name], expected[name].numpy(), rtol=0, atol=TOLERANCE * largest, err_msg=name)
    probabilities, _ = folded.group.probabilities(expected["logits"])
    for name, value in (("topk_index", "topk_probability"), ("class_index", "class_probability")):
        index = torch.from_numpy(rows[name]).reshape(len(IMAGES), -1)
        chosen = probabilities.gather(1, index).numpy().reshape(rows[value].shape)
        np.testing.assert_allclose(chosen, rows[value], rtol=0, atol=TOLERANCE, err_msg=name)


def test_the_bundle_decodes_jpegs_as_its_run_did(finished_run: Path, tmp_path: Path) -> None:
    """And its canaries hold the service to it."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"jpeg_scale": "reduced"}))
    bundle = export(run, tmp_path / "bundle", name="reduced", statistics=False)
    assert bundle.manifest.input.jpeg_scale == "reduced"
    pixels = np.stack([decode(one.encoded, height=32, width=32, jpeg_scale="reduced") for one in bundle.canaries])
    for canary, row in zip(bundle.canaries, Engine(bundle, provider="cpu").predict(pixels), strict=True):
        assert row.score == pytest.approx(canary.score, abs=1e-5)


def test_storing_weights_in_half_moves_scores_little(finished_run: Path, session: Session) -> None:
    """Against the network as trained, with its weights in full, scores move by less than a hundredth."""
    network = load_run(finished_run).network
    with torch.no_grad():
        full = Guard(network)(torch.from_numpy(IMAGES))[OUTPUTS.index("score")].numpy()
    assert np.abs(session.run(IMAGES)["score"] - full).max() < 1e-2


def test_batch_and_position_never_change_a_verdict(session: Session) -> None:
    """The same picture gives the same scores, but for rounding, alone, in any batch, at any position."""
    alone = np.concatenate([session.run(IMAGES[i : i + 1])["others_scores"] for i in range(len(IMAGES))])
    for size in (2, 3, 8, 37):
        starts = range(0, len(IMAGES), size)
        batched = np.concatenate([session.run(IMAGES[i : i + size])["others_scores"] for i in starts])
        np.testing.assert_allclose(batched, alone, rtol=0, atol=TOLERANCE)
    order = np.random.default_rng(1).permutation(len(IMAGES))
    np.testing.assert_allclose(session.run(IMAGES[order])["others_scores"], alone[order], rtol=0, atol=TOLERANCE)
    assert np.abs(alone[order] - alone).max() > 10 * TOLERANCE, "pictures that score alike prove nothing about places"


def test_the_outputs_agree_with_each_other(bundle: Bundle, session: Session) -> None:
    """The class is the first of the top k; MOS, which decides, is minus the smallest others score."""
    rows = session.run(IMAGES)
    assert (rows["class_index"] == rows["topk_index"][:, 0]).all()
    assert (rows["class_probability"] == rows["topk_probability"][:, 0]).all()
    assert (rows["mos"] == -rows["others_scores"].min(axis=1)).all()
    assert (rows["score"] == rows["mos"]).all()
    assert rows["logits"].shape == (37, 9 + 3)
    assert rows["class_index"].dtype == np.int64


def test_the_graph_is_one_file_of_plain_convolutions_with_half_weights(bundle: Bundle) -> None:
    """Weight standardisation is folded away, nothing lies outside the file, and no note names a source path."""
    model = onnx.load(bundle.model_path)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert not model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    weights = {t.name: t.data_type for t in model.graph.initializer if t.name.endswith("conv2.weight")}
    assert set(weights.values()) == {onnx.TensorProto.FLOAT16}
    assert b"site-packages" not in model.SerializeToString()


def test_folding_leaves_the_trained_network_alone(finished_run: Path) -> None:
    """Export works on a copy."""
    network = load_run(finished_run).network
    folded = fold(network)
    assert any(isinstance(module, StdConv2d) for module in network.modules())
    assert not any(isinstance(module, StdConv2d) for module in folded.modules())


def test_a_difference_between_torch_and_onnx_runtime_stops_the_export(finished_run: Path, session: Session) -> None:
    """A model that computes something else is never written."""
    folded = fold(load_run(finished_run).network)
    rows = session.run(IMAGES)
    check_parity(Guard(folded), IMAGES, rows)
    with pytest.raises(ExportError, match="score differs"):
        check_parity(Guard(folded), IMAGES, rows | {"score": rows["score"] + 1e-3})
    with pytest.raises(ExportError, match="score differs"):
        check_parity(Guard(folded), IMAGES, rows | {"score": np.full_like(rows["score"], np.nan)})


def test_the_backbone_reads_back_from_the_bundle(bundle: Bundle, finished_run: Path) -> None:
    """The exported file is where a user's own training starts: its backbone gives the trained features."""
    ours = backbone("R11-tiny")
    read_backbone(bundle.path, ours)
    trained = load_run(finished_run).network.backbone
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), trained(x), rtol=5e-3, atol=5e-3)


def test_a_backbone_of_another_size_is_refused(bundle: Bundle) -> None:
    """The sentence names the first parameter that does not fit."""
    with pytest.raises(CheckpointError, match=r"norm1\.weight|root"):
        read_backbone(bundle.path, backbone("R26-s2"))


def test_the_engine_serves_the_bundle_and_its_canaries_agree(bundle: Bundle) -> None:
    """The service's engine reads the file, and each canary gives what the bundle expects of it."""
    engine = Engine(read_bundle(bundle.path), provider="cpu")
    assert {canary.name for canary in bundle.canaries} == {"turned.jpg", "alpha.png", "noise.webp"}
    for canary in bundle.canaries:
        row = engine.predict(decode(canary.encoded, height=32, width=32)[None])[0]
        assert row.score == pytest.approx(canary.score, abs=TOLERANCE)


def test_one_picture_held_out_for_choices_is_too_few_for_moments(frozen_run: Path, tmp_path: Path) -> None:
    """Its deviation would be nothing, and the score rounding errors: moments are then of the calibration pictures."""
    run = shutil.copytree(frozen_run, tmp_path / "run")
    with np.load(run / "split.npz") as saved:
        arrays = dict(saved)
    arrays["part"][np.flatnonzero(arrays["part"] == VALIDATION)[1:]] = CALIBRATION
    np.savez(run / "split.npz", **arrays)
    decision = export(run, tmp_path / "bundle", name="few", statistics=False).manifest.decision
    assert decision is not None
    assert decision.parameters["held_out"] == (arrays["part"] == CALIBRATION).sum()


def test_another_statistic_may_be_fitted_at_export(frozen_run: Path, tmp_path: Path) -> None:
    """In place of the run's own; MOS needs no description."""
    done = export(frozen_run, tmp_path / "bundle", name="mos", statistics=False, decide_by="mos")
    assert done.manifest.decision is None
    assert done.manifest.decided_by == "mos"


def test_float16_is_a_bundle_of_its_own(finished_run: Path, bundle: Bundle, tmp_path: Path) -> None:
    """It says its precision, has another hash, is served, and a backbone reads back from it too."""
    half = export(finished_run, tmp_path / "half", name="half", statistics=False, precision="float16")
    assert (bundle.manifest.precision, half.manifest.precision) == ("float32", "float16")
    assert half.manifest.model_sha256 != bundle.manifest.model_sha256
    assert half.calibration is None
    assert len(Engine(half, provider="cpu").predict(IMAGES[:3])) == 3
    read_backbone(half.path, backbone("R11-tiny"))


def test_the_manifest_says_what_made_it_without_a_path(bundle: Bundle, finished_run: Path) -> None:
    """Recipe, seed and data fingerprint are there; the machine's folders are not."""
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    assert manifest["training"]["recipe"]["seed"] == 0
    assert manifest["training"]["data"]["n"] == 135
    assert str(finished_run.parent) not in json.dumps(manifest)
    assert [group["name"] for group in manifest["groups"]] == ["cross", "disc", "square"]
