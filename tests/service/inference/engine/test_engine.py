"""The engine: a bundle's graph run by ONNX Runtime."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from service.bundle import Bundle, read_bundle, write_bundle
from service.errors import BundleError, ModelOutputError, NotReady, ProviderError
from service.inference.engine import Engine
from service.preprocess import decode
from service.verdict import Row
from tests.tiny_bundle import CLASSES, GROUPS, MOS_AND_LOGIT, png, tiny_manifest, tiny_model, write_tiny_bundle

pytestmark = pytest.mark.numeric

Images = NDArray[np.uint8]


def images(count: int, seed: int = 0) -> Images:
    """Return *count* random images with colours from all over the cube, (N, 8, 8, 3)."""
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, (count, 1, 1, 3))
    return np.clip(base + random.integers(-40, 41, (count, 8, 8, 3)), 0, 255).astype(np.uint8)


def bundle_of(model: onnx.ModelProto, path: Path) -> Bundle:
    """Write a bundle of *model* with the tiny manifest."""
    data = model.SerializeToString()
    return write_bundle(path, manifest=tiny_manifest(data), model=data)


# Thirteen terms of at most 48 move a logit of the tiny model by less than 4e-5 in float32, however they are summed, and
# so a probability by less than one part in ten thousand. Of these images, no two classes' probabilities are so near.
ROUNDING = 1e-4


def same(left: Row, right: Row) -> bool:
    """Say whether two rows are equal but for rounding, which may depend on the batch, the threads and the processor."""
    indices = left.class_index == right.class_index and np.array_equal(left.topk_index, right.topk_index)
    return indices and all(np.allclose(a, b, rtol=ROUNDING, atol=0) for a, b in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle) -> Engine:
    return Engine(tiny_bundle, provider="cpu")


# --- Rows ---


def test_rows_are_the_graphs_outputs(tiny_bundle: Bundle, engine: Engine) -> None:
    """Each Row holds its image's outputs, in the order of the images."""
    session = onnxruntime.InferenceSession(tiny_bundle.model_path, providers=["CPUExecutionProvider"])
    batch = images(7)
    outputs = dict(zip([value.name for value in session.get_outputs()], session.run(None, {"images": batch})))  # noqa: B905
    rows = engine.predict(batch)
    assert len(rows) == 7
    for i, row in enumerate(rows):
        assert same(row, Row(**{name: outputs[name][i] for name in Row._fields}))


def test_rows_follow_the_contract(engine: Engine) -> None:
    """The score is minus the least others score, and the first of the top classes is the class."""
    for row in engine.predict(images(32)):
        assert row.mos == row.score == -row.others_scores.min()
        assert (row.topk_index[0], row.topk_probability[0]) == (row.class_index, np.float32(row.class_probability))
        assert (row.topk_index.shape, row.others_scores.shape) == ((5,), (len(GROUPS),))
        assert type(row.class_index) is int
        assert type(row.mos) is type(row.score) is float


def test_a_graph_of_schema_1_has_mos_as_its_score(tmp_path: Path, engine: Engine) -> None:
    """Without an output of that name MOS is the score; all the rest is as in a graph that has one."""
    bundle = write_tiny_bundle(tmp_path / "b", schema_version=1)
    older = Engine(bundle, provider="cpu")
    for row, newer in zip(older.predict(images(7)), engine.predict(images(7)), strict=True):
        assert row.mos == row.score
        assert same(row, newer)


def test_another_statistic_stands_beside_mos(mos_and_logit_bundle: Bundle, engine: Engine) -> None:
    """The score is the sum of the standardised parts; MOS is what it is without them."""
    session = onnxruntime.InferenceSession(mos_and_logit_bundle.model_path, providers=["CPUExecutionProvider"])
    [logits] = session.run(["logits"], {"images": images(7)})
    class_logits = np.delete(logits, [0, 3, 6], axis=1)  # three slices of others and two classes
    mos, largest = MOS_AND_LOGIT.parts
    rows = Engine(mos_and_logit_bundle, provider="cpu").predict(images(7))
    for row, plain, logit in zip(rows, engine.predict(images(7)), class_logits.max(axis=1), strict=True):
        assert row.mos == pytest.approx(plain.mos, rel=ROUNDING)
        terms = [
            part.weight * (value - part.mean) / part.deviation
            for part, value in ((mos, row.mos), (largest, float(logit)))
        ]
        assert row.score == pytest.approx(sum(terms), abs=ROUNDING)


@pytest.mark.parametrize("name", CLASSES)
def test_pixels_decide(engine: Engine, tiny_bundle: Bundle, name: str) -> None:
    """A pure colour is its class and in-distribution; grey is not."""
    assert tiny_bundle.calibration is not None
    red, green, blue = (int(255 * channel) for channel in CLASSES[name])
    pure, grey = (decode(png(color), height=8, width=8) for color in ((red, green, blue), (128, 128, 128)))
    pure_row, grey_row = engine.predict(np.stack([pure, grey]))
    assert tiny_bundle.manifest.classes[pure_row.class_index] == name
    assert pure_row.score >= tiny_bundle.calibration.threshold > grey_row.score


def test_canaries_agree_with_the_whole_path(engine: Engine, tiny_bundle: Bundle) -> None:
    """Bytes to row gives the expected outputs, but for rounding."""
    assert tiny_bundle.canaries
    for canary in tiny_bundle.canaries:
        [row] = engine.predict(decode(canary.encoded, height=8, width=8)[None])
        assert row.class_index == canary.class_index
        assert row.score == pytest.approx(canary.score, rel=ROUNDING)
        assert row.others_scores == pytest.approx(np.array(canary.others_scores), rel=ROUNDING)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 16, 31, 32])
def test_batches_do_not_change_scores(engine: Engine, size: int) -> None:
    """The same image gives the same row, but for rounding, at every batch size and every position."""
    single = [engine.predict(image[None])[0] for image in images(32)]
    for start in range(0, 32, size):
        batch = np.roll(images(32), -start, axis=0)[:size]
        for offset, row in enumerate(engine.predict(batch)):
            assert same(row, single[(start + offset) % 32])


def test_no_images_give_no_rows(engine: Engine) -> None:
    """An empty batch is no error."""
    assert engine.predict(np.zeros((0, 8, 8, 3), np.uint8)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((1, 8, 9, 3), np.uint8),
        np.zeros((33, 8, 8, 3), np.uint8),
    ],
)
def test_images_of_a_wrong_shape_are_a_mistake(engine: Engine, wrong: Images) -> None:
    """What the preprocessing cannot have made is refused before the model sees it."""
    with pytest.raises(ValueError, match="images must be uint8"):
        engine.predict(wrong)


def test_images_may_come_one_by_one(engine: Engine) -> None:
    """A list of images is the same batch as one array of them."""
    batch = images(5)
    assert all(map(same, engine.predict(list(batch)), engine.predict(batch)))


def test_images_need_not_be_contiguous(engine: Engine) -> None:
    """A view with other strides is the same image."""
    batch = images(4)
    mirrored = batch[:, :, ::-1]
    expected = engine.predict(np.ascontiguousarray(mirrored))
    assert all(map(same, engine.predict(mirrored), expected))


# --- Faults ---


@pytest.mark.parametrize("place", [0, 3, 6])
def test_nan_stays_in_its_row(tmp_path: Path, place: int) -> None:
    """Of a batch with one image that the model answers with NaN, every other row is what it is without it."""
    engine = Engine(write_tiny_bundle(tmp_path / "b", nan_on_black=True), provider="cpu")
    batch = images(7)
    sound = engine.predict(batch)
    batch[place] = 0
    rows = engine.predict(batch)
    assert np.isnan(rows[place].score)
    assert all(same(row, expected) for i, (row, expected) in enumerate(zip(rows, sound, strict=True)) if i != place)


def test_a_failing_runtime_is_not_ready(tmp_path: Path) -> None:
    """What ONNX Runtime raises becomes NotReady, without its words; the engine goes on."""
    engine = Engine(write_tiny_bundle(tmp_path / "b", fail_on_white=True), provider="cpu")
    with pytest.raises(NotReady) as caught:
        engine.predict(np.full((1, 8, 8, 3), 255, np.uint8))
    assert str(caught.value) == "ONNX Runtime could not run the model; restart the service."
    assert len(engine.predict(images(3))) == 3


def test_a_graph_that_drops_rows_is_an_error(tmp_path: Path) -> None:
    """An output with another count than the images had is never dealt out."""
    model = tiny_model()
    [neg] = [node for node in model.graph.node if node.output[0] == "score"]
    neg.output[0] = "all_scores"
    model.graph.node.append(helper.make_node("Slice", ["all_scores", "zero", "one", "zero"], ["score"]))
    engine = Engine(bundle_of(model, tmp_path / "b"), provider="cpu")
    with pytest.raises(ModelOutputError, match="score has a wrong shape"):
        engine.predict(images(2))


class FallenBack:
    """A session that went over to the CPU by itself and still answers, as ONNX Runtime's does where it may."""

    def __init__(self, session: Any) -> None:
        self.run = session.run

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_session_that_fell_back_is_not_ready(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Answers from another provider than the one in use at the start are given to nobody, however sound they look."""
    engine = Engine(tiny_bundle, provider="cpu")
    monkeypatch.setattr(engine, "_session", FallenBack(engine._session))
    assert len(engine.predict(images(2))) == 2
    monkeypatch.setattr(engine, "provider", provider)
    with pytest.raises(NotReady, match=f"no longer runs the model on {provider}"):
        engine.predict(images(2))


class LostDevice:
    """The session inside ONNX Runtime's own, whose execution provider fails in every run."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *arguments: object) -> None:
        raise EPFail("device lost")


def test_a_session_does_not_fall_back_by_itself(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an execution provider fails in a run, the run fails: ONNX Runtime goes on with no other one."""
    engine = Engine(tiny_bundle, provider="cpu")
    monkeypatch.setattr(engine._session, "_sess", LostDevice(engine._session._sess))
    with pytest.raises(NotReady):
        engine.predict(images(2))


# --- Bundles that must not be served ---


def _rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "pixels"
    model.graph.node[0].input[0] = "pixels"


def _float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _other_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 12


def _fixed_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def _no_logits(model: onnx.ModelProto) -> None:
    [logits] = [value for value in model.graph.output if value.name == "logits"]
    model.graph.output.remove(logits)


def _no_mos(model: onnx.ModelProto) -> None:
    [mos] = [value for value in model.graph.output if value.name == "mos"]
    model.graph.output.remove(mos)


def _one_more_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 6]))


def _three_top_classes(model: onnx.ModelProto) -> None:
    [k] = [tensor for tensor in model.graph.initializer if tensor.name == "k"]
    k.CopyFrom(onnx.numpy_helper.from_array(np.array([3], np.int64), "k"))
    for value in model.graph.output:
        if value.name.startswith("topk"):
            value.type.tensor_type.shape.dim[1].dim_value = 3


def _double_score(model: onnx.ModelProto) -> None:
    [neg] = [node for node in model.graph.node if node.output[0] == "score"]
    neg.output[0] = "float_score"
    model.graph.node.append(helper.make_node("Cast", ["float_score"], ["score"], to=TensorProto.DOUBLE))
    [score] = [value for value in model.graph.output if value.name == "score"]
    score.type.tensor_type.elem_type = TensorProto.DOUBLE


@pytest.mark.parametrize(
    "spoil",
    [
        _rename_input,
        _float_input,
        _other_size,
        _fixed_batch,
        _no_logits,
        _no_mos,
        _one_more_output,
        _three_top_classes,
        _double_score,
    ],
)
def test_a_graph_that_does_not_fit_the_manifest_is_refused(
    tmp_path: Path, spoil: Callable[[onnx.ModelProto], None]
) -> None:
    """Names, types and shapes are compared before anything is served."""
    model = tiny_model()
    spoil(model)
    with pytest.raises(BundleError, match="export"):
        Engine(bundle_of(model, tmp_path / "b"), provider="cpu")


def test_a_graph_with_mos_is_not_of_schema_1(tmp_path: Path) -> None:
    """The schema says which outputs there are, both ways."""
    data = tiny_model().SerializeToString()
    bundle = write_bundle(tmp_path / "b", manifest=tiny_manifest(data, schema_version=1), model=data)
    with pytest.raises(BundleError, match="export"):
        Engine(bundle, provider="cpu")


def test_a_manifest_of_other_groups_is_refused(tmp_path: Path, tiny_bundle: Bundle) -> None:
    """The same graph under another grouping does not fit."""
    manifest = tiny_bundle.manifest
    merged = manifest.groups[0].model_copy(update={"classes": list(range(6))})
    other = manifest.model_copy(update={"groups": [merged]})
    bundle = write_bundle(tmp_path / "b", manifest=other, model=tiny_bundle.model_path.read_bytes())
    with pytest.raises(BundleError, match="others_scores"):
        Engine(bundle, provider="cpu")


@pytest.mark.parametrize("data", [b"", b"not a graph", tiny_model().SerializeToString()[:-100]])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    """Its hash may be right; it still cannot be loaded."""
    bundle = write_bundle(tmp_path / "b", manifest=tiny_manifest(data), model=data)
    with pytest.raises(BundleError, match="cannot load"):
        Engine(bundle, provider="cpu")


def test_a_model_that_changed_after_reading_is_refused(tmp_path: Path) -> None:
    """What was hashed is what runs, even if the file is replaced in between."""
    bundle = write_tiny_bundle(tmp_path / "b")
    bundle.model_path.write_bytes(tiny_model(nan_on_black=True).SerializeToString())
    with pytest.raises(BundleError, match="changed"):
        Engine(bundle, provider="cpu")


@pytest.mark.parametrize("place", ["beside the model", "in the working directory", "by a path upwards"])
def test_external_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Weights outside the hashed file are not read, wherever they lie."""
    model = tiny_model()
    [bias] = [tensor for tensor in model.graph.initializer if tensor.name == "bias"]
    raw = bytes(bias.raw_data)
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    location = f"../{tmp_path.name}/weights.bin" if place == "by a path upwards" else "weights.bin"
    bias.external_data.add(key="location", value=location)
    bundle = bundle_of(model, tmp_path / "b")
    for folder in (tmp_path, bundle.path):
        (folder / "weights.bin").write_bytes(raw)
    monkeypatch.chdir(bundle.path if place == "beside the model" else tmp_path)
    with pytest.raises(BundleError, match="without external data"):
        Engine(read_bundle(bundle.path), provider="cpu")


# --- Providers and warm-up ---


def test_cpu_is_the_cpu(engine: Engine) -> None:
    """The provider in use is named in the settings' words."""
    assert engine.provider == "cpu"


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a CUDA device here")
def test_auto_falls_back_where_there_is_no_gpu(tiny_bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a driver `auto` is the CPU, and no runtime complains about missing libraries."""
    assert Engine(tiny_bundle).provider == "cpu"
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a CUDA device here")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_refused(tiny_bundle: Bundle, provider: str) -> None:
    """Whoever asks for the GPU by name never gets the CPU."""
    with pytest.raises(ProviderError, match=provider):
        Engine(tiny_bundle, provider=provider)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not os.path.exists("/dev/nvidia0"), reason="there is no CUDA device here")
@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_cuda_pads_and_agrees_with_the_cpu(tiny_bundle: Bundle, engine: Engine, size: int, cuda_graphs: bool) -> None:
    """On CUDA every batch size gives as many rows, and the CPU's decisions, from two threads at a time too."""
    cuda = Engine(tiny_bundle, provider="cuda", max_batch_size=20, cuda_graphs=cuda_graphs)
    assert cuda.batch_sizes == (1, 2, 4, 8, 16, 20)
    cuda.warm_up()
    batches = [images(size, seed) for seed in range(8)]
    with ThreadPoolExecutor(2) as threads:
        for batch, rows in zip(batches, threads.map(cuda.predict, batches), strict=True):
            assert len(rows) == size
            for row, expected in zip(rows, engine.predict(batch), strict=True):
                assert row.score == pytest.approx(expected.score, abs=1e-5)


@pytest.mark.parametrize(("max_batch_size", "sizes"), [(1, [1]), (2, [1, 2]), (32, [1, 8])])
def test_warm_up_runs_one_image_and_a_full_batch(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, max_batch_size: int, sizes: list[int]
) -> None:
    """On the CPU no batch size costs anything of its own, so the extremes are enough; the largest runs first."""
    engine = Engine(tiny_bundle, provider="cpu", max_batch_size=max_batch_size)
    predict, seen = engine.predict, []

    def watched(batch: Images) -> list[Row]:
        seen.append(len(batch))
        return predict(batch)

    monkeypatch.setattr(engine, "predict", watched)
    engine.warm_up()
    assert seen[::-1] == list(engine.batch_sizes) == sizes


def test_warm_up_finds_a_model_that_cannot_run(tmp_path: Path) -> None:
    """A model with a NaN among its weights never gets ready."""
    model = tiny_model()
    [bias] = [tensor for tensor in model.graph.initializer if tensor.name == "bias"]
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0] = np.nan
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "bias"))
    with pytest.raises(ModelOutputError, match="NaN"):
        Engine(bundle_of(model, tmp_path / "b"), provider="cpu").warm_up()


def test_threads_can_be_set(tiny_bundle: Bundle) -> None:
    """The number of threads changes no score, but for rounding."""
    one, default = (Engine(tiny_bundle, provider="cpu", intra_op_threads=threads) for threads in (1, 0))
    assert all(map(same, one.predict(images(8)), default.predict(images(8))))


@pytest.mark.parametrize(
    ("cores", "threads", "max_batch_size", "in_flight", "batch_size"),
    [(1, 0, 32, 1, 8), (4, 0, 32, 4, 8), (64, 2, 32, 2, 8), (1, 3, 4, 3, 4)],
)
def test_runs_on_the_cpu_have_cores_of_their_own(
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    threads: int,
    max_batch_size: int,
    in_flight: int,
    batch_size: int,
) -> None:
    """As many go at a time as there are threads, by default one a core, and a thread gets 8 images at a time."""
    monkeypatch.setattr("service.inference.engine.usable_cores", lambda: cores)
    engine = Engine(tiny_bundle, provider="cpu", intra_op_threads=threads, max_batch_size=max_batch_size)
    assert (engine.in_flight, engine.batch_size) == (in_flight, batch_size)
    assert not engine.shares_device
