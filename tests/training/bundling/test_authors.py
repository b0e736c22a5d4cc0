"""The authors' checkpoint is served as it is, each of its rows under the name of its class."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service.bundle import Bundle, read_bundle
from service.inference.engine import Engine
from service.preprocess import decode
from tests.made_once import made_once
from tests.training.test_pipeline import run
from tests.training.weights.test_reading import random_head, write_official
from training.bundling.graph import TOLERANCE
from training.grouping.groups import Grouping
from training.grouping.taxonomy import built_in_tree
from training.scoring.session import Session
from training.weights import ilsvrc_order

pytestmark = pytest.mark.numeric

SIDE = 32
FEATURES = 128  # of the small network that stands for R101x1


@pytest.fixture(scope="module")
def head() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in the development kit's order, each with a number of its own."""
    return random_head(1008, FEATURES)


@pytest.fixture(scope="module")
def bundle(head: tuple[torch.Tensor, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Made by the command."""

    def export(folder: Path) -> None:
        write_official(folder / "bit.pth.tar", head)
        options = ["--out", folder / "bundle", "--name", "mos-imagenet", "--version", "1", "--size", SIDE]
        assert run("export", "--authors-checkpoint", folder / "bit.pth.tar", *options) == 0

    return read_bundle(made_once(tmp_path_factory, "authors", export) / "bundle")


def test_the_logit_of_each_class_is_its_own_row_of_the_checkpoint(
    bundle: Bundle, head: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """By name: what the kit's order says of a WordNet id, and what the bundle's groups say of it, are one row."""
    manifest = bundle.manifest
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    rows = Session(bundle.model_path.read_bytes()).run(images)
    theirs = rows["features"] @ head[0].numpy().T + head[1].numpy()  # (N, 1008) in the order of the checkpoint
    kit, kit_tables = ilsvrc_order.classes("official"), ilsvrc_order.grouping("official").tables()
    names = tuple(group.name for group in manifest.groups)
    tables = Grouping(names, tuple(tuple(group.classes) for group in manifest.groups)).tables()
    for index, wordnet_id in enumerate(manifest.classes):
        at = kit.index(wordnet_id)
        stored = kit_tables.logit_index[kit_tables.class_group[at], kit_tables.class_position[at]]
        logit = tables.logit_index[tables.class_group[index], tables.class_position[index]]
        np.testing.assert_allclose(rows["logits"][:, logit], theirs[:, stored], rtol=0, atol=0.05)
    assert np.abs(rows["logits"] - theirs).max() > 1, "rows that stay where they were prove nothing"


def test_its_groups_are_the_taxonomys_and_its_classes_those_of_image_folders(bundle: Bundle) -> None:
    """Sorted WordNet ids, at level 0 of the ImageNet tree."""
    manifest = bundle.manifest
    assert manifest.classes == sorted(manifest.classes)
    tree = {group.name: {manifest.classes[index] for index in group.classes} for group in manifest.groups}
    assert tree == {name: set(classes) for name, classes in built_in_tree("imagenet1k").items()}
    assert (manifest.backbone, manifest.decided_by, manifest.input.height) == ("R11-tiny", "mos", SIDE)
    assert "bit.pth.tar (sha256 " in str(manifest.training["weights"])
    assert bundle.calibration is None


def test_the_service_runs_it_and_its_canaries_agree(bundle: Bundle) -> None:
    """Once it is calibrated, that is all it needs."""
    engine = Engine(bundle, provider="cpu")
    for canary in bundle.canaries:
        row = engine.predict(decode(canary.encoded, height=SIDE, width=SIDE)[None])[0]
        assert row.score == pytest.approx(canary.score, abs=TOLERANCE)


def test_a_flat_head_has_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The authors' other checkpoint is a plain classifier."""
    write_official(tmp_path / "flat.pth.tar", random_head(1000, FEATURES))
    out = ["--out", tmp_path / "bundle", "--name", "flat"]
    assert run("export", "--authors-checkpoint", tmp_path / "flat.pth.tar", *out) == 1
    assert "has no group head of ImageNet's 1,000 classes in 8 groups" in capsys.readouterr().err


def test_weights_of_another_maker_are_where_training_starts(
    exported: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle's own head has other classes, and Google's has no groups."""
    out = ["--out", tmp_path / "bundle", "--name", "theirs"]
    assert run("export", "--authors-checkpoint", exported.path / "model.onnx", *out) == 1
    assert "is no checkpoint of the authors' code; give it to `train --weights`" in capsys.readouterr().err


def test_nothing_is_fitted_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A statistic joined from parts needs pictures."""
    out = ["--out", tmp_path / "bundle", "--name", "theirs", "--decide-by", "mos+logit"]
    assert run("export", "--authors-checkpoint", tmp_path / "bit.pth.tar", *out) == 1
    assert "leave out --decide-by and --setting" in capsys.readouterr().err
