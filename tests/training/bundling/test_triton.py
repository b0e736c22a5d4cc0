"""What is written is an entry that Triton would load: by NVIDIA's own schema, and as the graph is."""

import importlib.util
from pathlib import Path
from typing import Any

import onnx
import pytest
import tritonclient
from google.protobuf import text_format

from service.bundle import Bundle, write_bundle
from tests.tiny_bundle import SIZE_PIXELS
from training import __main__ as cli
from training.bundling.triton import write_triton_entry
from training.errors import SettingError

ONNX_TYPES = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.INT64: "TYPE_INT64"}
ONNX_TYPES |= {onnx.TensorProto.FLOAT: "TYPE_FP32"}


@pytest.fixture(scope="module")
def schema() -> Any:
    """Triton's messages, as its client has them; the package around them would ask for gRPC."""
    [folder] = tritonclient.__path__
    spec = importlib.util.spec_from_file_location("model_config_pb2", Path(folder) / "grpc" / "model_config_pb2.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_graph(values: Any) -> dict[str, tuple[str, list[int]]]:
    """Return the type and shape of every value of an ONNX graph, without the batch."""
    return {
        value.name: (
            ONNX_TYPES[value.type.tensor_type.elem_type],
            [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim][1:],
        )
        for value in values
    }


def of_config(schema: Any, tensors: Any) -> dict[str, tuple[str, list[int]]]:
    """Return the same of a configuration, each in the shape that the model gives it."""
    return {
        tensor.name: (
            schema.DataType.Name(tensor.data_type),
            list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims),
        )
        for tensor in tensors
    }


def test_the_configuration_fits_the_graph(tiny_bundle: Bundle, tmp_path: Path, schema: Any) -> None:
    """Every input and output by name, type and shape, and batches."""
    entry = write_triton_entry(tiny_bundle, tmp_path)
    config = text_format.Parse((entry / "config.pbtxt").read_text(), schema.ModelConfig())
    graph = onnx.load(entry / "1" / "model.onnx").graph
    assert entry == tmp_path / "tiny"
    assert (config.name, config.backend) == ("tiny", "onnxruntime")
    assert of_config(schema, config.input) == of_graph(graph.input)
    assert of_config(schema, config.output) == of_graph(graph.output)
    assert list(config.input[0].dims) == [SIZE_PIXELS, SIZE_PIXELS, 3]
    assert all(tensor.dims for tensor in config.output), "Triton has no tensor of no dimensions"
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")


@pytest.mark.parametrize("changes", [{"name": "../up"}, {"name": "a b"}, {"version": "1.2"}, {"version": "0"}])
def test_what_triton_would_not_find_is_refused(tiny_bundle: Bundle, tmp_path: Path, changes: dict[str, str]) -> None:
    """Its versions are whole numbers and its names are folders; nothing is written."""
    manifest = tiny_bundle.manifest.model_copy(update=changes)
    other = write_bundle(tmp_path / "bundle", manifest=manifest, model=tiny_bundle.model_path.read_bytes())
    with pytest.raises(SettingError, match="--version"):
        write_triton_entry(other, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_the_command_takes_a_bundle_that_is_there(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """No run is needed for it."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", "--bundle", str(tiny_bundle.path), "--triton", str(tmp_path / "repository")])
    assert not stopped.value.code
    model = tmp_path / "repository" / "tiny" / "1" / "model.onnx"
    assert model.read_bytes() == tiny_bundle.model_path.read_bytes()


@pytest.mark.parametrize(
    "options", [[], ["--bundle", "b"], ["--run", "r"], ["--run", "r", "--bundle", "b", "--triton", "t"]]
)
def test_half_a_command_is_one_sentence(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It names what is missing."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", *options])
    assert stopped.value.code == 1
    assert "--run, --out and --name" in capsys.readouterr().err
