"""A graph of one's own gives its own features of pixels, whatever its layout, type, batch and opset; or is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from tests.training.weights.own_graph.graphs import FEATURES, features_of, graph, write
from training.errors import GraphError, SettingError
from training.model.onnx_extractor import OnnxExtractor
from training.weights.own_graph.normalisation import IMAGENET_MEAN, IMAGENET_STD
from training.weights.own_graph.reading import GraphOptions, read_own_graph

pytestmark = pytest.mark.numeric

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), np.uint8)
HALVES = GraphOptions((0.5,) * 3, (0.5,) * 3)
BY_IMAGENET = features_of(IMAGES, np.array(IMAGENET_MEAN), np.array(IMAGENET_STD))


def features(extractor: OnnxExtractor) -> np.ndarray:
    """Of the pictures."""
    return extractor.features(torch.from_numpy(IMAGES)).numpy()


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"channels_last": True, "shape": ("n", 16, 16, 3)},
        {"outputs": ("maps",)},
        {"shape": (1, 3, 16, 16)},
        {"shape": (4, 3, 16, 16)},
        {"kind": TensorProto.DOUBLE},
        {"opset": 13, "outputs": ("maps",)},
        {"opset": 22},
    ],
    ids=str,
)
def test_a_graph_gives_its_own_features_of_pixels(tmp_path: Path, made: dict[str, Any]) -> None:
    """In either layout, pooled where it gives maps, in any batch, and of an older or a newer opset than ours."""
    extractor = read_own_graph(write(tmp_path, graph(**made)), HALVES)
    assert (extractor.name, extractor.side, extractor.feature_size) == ("onnx:own.onnx", 16, FEATURES)
    np.testing.assert_allclose(features(extractor), features_of(IMAGES, 0.5, 0.5), rtol=0, atol=1e-4)


def test_half_precision_inside_is_float32_outside(tmp_path: Path) -> None:
    """Within its own three digits."""
    extractor = read_own_graph(write(tmp_path, graph(kind=TensorProto.FLOAT16)), HALVES)
    assert features(extractor).dtype == np.float32
    np.testing.assert_allclose(features(extractor), features_of(IMAGES, 0.5, 0.5), rtol=0, atol=0.05)


def test_a_graph_of_pixels_normalises_them_itself(tmp_path: Path) -> None:
    """Nothing is put before it, and a mean beside it is a contradiction."""
    file = write(tmp_path, graph(("n", 16, 16, 3), kind=TensorProto.UINT8, channels_last=True))
    extractor = read_own_graph(file, GraphOptions())
    np.testing.assert_allclose(features(extractor), features_of(IMAGES, 0, 1 / 255), rtol=1e-5)
    assert "pixels as they are" in extractor.origin
    with pytest.raises(SettingError, match="leave out --mean and --std"):
        read_own_graph(file, HALVES)


def test_what_a_graph_cannot_say_is_assumed_aloud(tmp_path: Path) -> None:
    """ImageNet's mean and deviation, unless a file of the exporter's beside it tells others."""
    file = write(tmp_path, graph())
    assumed = read_own_graph(file, GraphOptions())
    np.testing.assert_allclose(features(assumed), BY_IMAGENET, rtol=0, atol=1e-4)
    assert "(ImageNet's, assumed)" in assumed.origin
    told = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True, "rescale_factor": 1 / 255}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    assert (
        "pixels / 255 less 0.5, divided by 0.5 (of preprocessor_config.json)"
        in read_own_graph(file, GraphOptions()).origin
    )
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(GraphError, match="tells no mean and deviation; give --mean and --std"):
        read_own_graph(file, GraphOptions())


def test_weights_beside_the_file_are_brought_inside(tmp_path: Path) -> None:
    """The served graph is one file, and the origin names both of the person's, by their hashes."""
    file = write(tmp_path, graph(), save_as_external_data=True, location="own.data", size_threshold=0)
    extractor = read_own_graph(file, HALVES)
    assert not any(tensor.external_data for tensor in onnx.load_from_string(extractor.graph).graph.initializer)
    for part in (file, tmp_path / "own.data"):
        assert f"{part.name} (sha256 {hashlib.sha256(part.read_bytes()).hexdigest()})" in extractor.origin
    (tmp_path / "own.data").unlink()
    with pytest.raises(GraphError, match="its weights do not lie beside it"):
        read_own_graph(file, HALVES)


def test_of_several_outputs_one_is_named(tmp_path: Path) -> None:
    """By --feature-output, which may also name a value inside the graph."""
    file = write(tmp_path, graph(outputs=("maps", "features")))
    with pytest.raises(GraphError, match=r"outputs are maps \(.*\), features \(.*\); name the features'"):
        read_own_graph(file, HALVES)
    for output in ("maps", "features", "pooled"):
        named = read_own_graph(file, GraphOptions(HALVES.mean, HALVES.std, output))
        np.testing.assert_allclose(features(named), features_of(IMAGES, 0.5, 0.5), rtol=0, atol=1e-4)
    with pytest.raises(GraphError, match="computes no 'logits'"):
        read_own_graph(file, GraphOptions(output="logits"))


def test_a_graph_of_any_side_is_told_one(tmp_path: Path) -> None:
    """And one of a fixed side takes no other."""
    file = write(tmp_path, graph(("n", 3, "h", "w")))
    with pytest.raises(GraphError, match=r"own\.onnx cannot be a backbone: it takes pictures of any side; give --size"):
        read_own_graph(file, HALVES)
    assert read_own_graph(file, HALVES, 16).side == 16
    with pytest.raises(GraphError, match="16 x 16 pixels alone; leave out --size"):
        read_own_graph(write(tmp_path, graph()), HALVES, 32)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({"shape": ("n", 3, 16, 24)}, "export it for squares"),
        ({"shape": ("n", "c", 16, 16)}, "does not say which dimension holds the three colours"),
        ({"shape": ("n", 1, 16, 16)}, "does not say which dimension holds the three colours"),
        ({"kind": TensorProto.INT32}, "its input pictures is int32; export it to take uint8, float32"),
        ({"shape": ("n", 768)}, r"its inputs are pictures \(n, 768\)"),
        ({"shape": (1, 3, 16, 16), "reshape_to": (1, FEATURES)}, "takes batches of 1 alone; export it with a dynamic"),
        ({"shape": (1, 3, 16, 16), "reshape_to": (1, -1)}, "takes batches of 1 alone; export it with a dynamic"),
        ({"reshape_to": (-1, 2, 3)}, r"features have the shape \(3, 2, 3\); \(N, D\) is wanted"),
    ],
)
def test_a_graph_that_cannot_be_a_backbone_is_one_sentence(tmp_path: Path, made: dict[str, Any], sentence: str) -> None:
    """Which names the file and the remedy."""
    with pytest.raises(GraphError, match=sentence) as refused:
        read_own_graph(write(tmp_path, graph(**made)), HALVES)
    assert str(refused.value).startswith(f"{tmp_path / 'own.onnx'} cannot be a backbone: ")


def test_features_that_depend_on_their_neighbours_are_refused(tmp_path: Path) -> None:
    """As those of a network that was exported while it was being fitted."""
    model = graph()
    last = model.graph.node[-1]
    last.output[0] = "alone"
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["alone"], ["of_batch"], axes=[0], keepdims=1))
    model.graph.node.append(onnx.helper.make_node("Sub", ["alone", "of_batch"], ["inside"]))
    model.graph.node.append(onnx.helper.make_node("Add", ["inside", "alone"], ["features"]))
    model.opset_import[0].version = 17  # axes were an attribute then
    with pytest.raises(GraphError, match=r"depend on the others of its batch; export it after eval\(\)"):
        read_own_graph(write(tmp_path, model), HALVES)


def test_what_is_no_graph_is_one_sentence(tmp_path: Path) -> None:
    """A file that is missing, or of another kind."""
    with pytest.raises(GraphError, match="there is no file"):
        read_own_graph(tmp_path / "own.onnx", HALVES)
    (tmp_path / "own.onnx").write_bytes(b"no graph")
    with pytest.raises(GraphError, match="it is no ONNX file, is damaged"):
        read_own_graph(tmp_path / "own.onnx", HALVES)
