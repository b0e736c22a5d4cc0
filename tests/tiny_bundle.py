"""A small real bundle with the whole graph contract, made with onnx alone, in milliseconds.

The model sees 8 x 8 pixels, takes the mean colour of each quarter as its features and compares it with six pure
colours: an image of one of them is in-distribution, a grey or noisy one is not. Verdicts therefore depend on pixels.
"""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from service.bundle import (
    Bundle,
    Calibration,
    Canary,
    Decision,
    Group,
    InputSpec,
    Manifest,
    ReferenceScores,
    StatisticPart,
    sha256_hex,
    write_bundle,
)
from service.inference.engine import Engine
from service.preprocess import JpegScale, decode

CLASSES = {
    "red": (1.0, 0.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "magenta": (1.0, 0.0, 1.0),
    "white": (1.0, 1.0, 1.0),
}
# Not in class order, so that the step from logit layout to class order is exercised.
GROUPS = {"warm": [0, 2], "cool": [1, 3], "pale": [4, 5]}
SIZE_PIXELS = 8
SHARPNESS = 8.0
OTHERS_LOGIT = 0.6 * SHARPNESS
# Means and deviations of the calibration images, rounded.
MOS_AND_LOGIT = Decision(
    statistic="mos+logit",
    parts=[
        StatisticPart(name="mos", weight=1, mean=-0.26, deviation=0.32),
        StatisticPart(name="logit", weight=0.5, mean=9, deviation=5.5),
    ],
    parameters={"images": 200},
)

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def write_tiny_bundle(
    path: Path,
    *,
    calibrated: bool = True,
    version: str = "1",
    schema_version: Literal[1, 2] = 2,
    decision: Decision | None = None,
    jpeg_scale: JpegScale = "full",
    nan_on_black: bool = False,
    fail_on_white: bool = False,
) -> Bundle:
    """Write the bundle to *path*.

    MOS decides unless there is a *decision*. With *nan_on_black* the model answers NaN to an all-black image, with
    *fail_on_white* ONNX Runtime raises for a batch that holds an all-white one.
    """
    model = tiny_model(
        schema_version=schema_version, decision=decision, nan_on_black=nan_on_black, fail_on_white=fail_on_white
    ).SerializeToString()
    manifest = tiny_manifest(
        model, version=version, schema_version=schema_version, decision=decision, jpeg_scale=jpeg_scale
    )
    bare = write_bundle(path, manifest=manifest, model=model)
    engine = Engine(bare, provider="cpu", max_batch_size=256)
    return write_bundle(
        path,
        manifest=manifest,
        model=model,
        canaries=[_canary(engine, "red.png", _near("red")), _canary(engine, "grey.png", (128, 128, 128))],
        calibration=_calibration(engine, manifest) if calibrated else None,
    )


def tiny_manifest(
    model: bytes,
    *,
    version: str = "1",
    schema_version: Literal[1, 2] = 2,
    decision: Decision | None = None,
    jpeg_scale: JpegScale = "full",
) -> Manifest:
    """Return the manifest of *model*, a serialized `tiny_model` of the same schema and decision."""
    return Manifest(
        schema_version=schema_version,
        name="tiny",
        version=version,
        created=CREATED,
        model_sha256=sha256_hex(model),
        input=InputSpec(height=SIZE_PIXELS, width=SIZE_PIXELS, jpeg_scale=jpeg_scale),
        classes=list(CLASSES),
        groups=[Group(name=name, classes=classes) for name, classes in GROUPS.items()],
        backbone="mean-colour",
        precision="float32",
        decision=decision,
        training={"seed": 0},
        metrics={},
    )


def rough_jpeg(seed: int = 0, *, width: int = 99, height: int = 70) -> bytes:
    """Return a JPEG of noise under a wash of colour: decoded at a reduced scale it has another score."""
    random = np.random.default_rng(seed)
    noise = random.normal(random.integers(60, 200, 3), 80, (height, width, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def png(color: tuple[int, int, int], *, width: int = 16, height: int = 12) -> bytes:
    """Return a PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


def tiny_model(
    *,
    schema_version: Literal[1, 2] = 2,
    decision: Decision | None = None,
    nan_on_black: bool = False,
    fail_on_white: bool = False,
) -> onnx.ModelProto:
    """Return the graph: N images, 12 features, 9 logits, 6 classes, 3 groups, 5 top classes; no `mos` in schema 1."""
    weights, bias = _linear_layer()
    slice_sizes = [1 + len(classes) for classes in GROUPS.values()]
    in_group_order = [index for classes in GROUPS.values() for index in classes]
    constants = {
        "scale": np.float32(1 / 255),
        "weights": weights,
        "bias": bias,
        "slice_sizes": np.array(slice_sizes, np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "to_class_order": np.argsort(in_group_order).astype(np.int64),
        "k": np.array([5], np.int64),
        "nothing": np.float32(0),
        "twelve_nothings": np.zeros(12, np.float32),
        "class_columns": np.setdiff1d(np.arange(sum(slice_sizes)), np.cumsum([0, *slice_sizes])),  # of the logits
        **_part_constants(decision),
    }
    node = helper.make_node
    slices = [f"slice_{i}" for i in range(len(GROUPS))]
    nodes = [
        node("Cast", ["images"], ["float_images"], to=TensorProto.FLOAT),
        node("Mul", ["float_images", "scale"], ["fractions"]),  # (N, H, W, 3)
        node("Transpose", ["fractions"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["quarters"], kernel_shape=[4, 4], strides=[4, 4]),  # (N, 3, 2, 2)
        node("Flatten", ["quarters"], ["features"]),
        node("Gemm", ["features", "weights", "bias"], ["finite_logits"]),
        *_faults(nan_on_black, fail_on_white),
        node("Split", ["logits", "slice_sizes"], slices, axis=1),
        *(node("Softmax", [name], [f"p_{name}"], axis=1) for name in slices),
        *(node("Slice", [f"p_{name}", "zero", "one", "one"], [f"others_{name}"]) for name in slices),
        *(node("Slice", [f"p_{name}", "one", "end", "one"], [f"valid_{name}"]) for name in slices),
        node("Concat", [f"others_{name}" for name in slices], ["others_scores"], axis=1),
        node("Concat", [f"valid_{name}" for name in slices], ["in_group_order"], axis=1),
        node("Gather", ["in_group_order", "to_class_order"], ["probabilities"], axis=1),
        node("TopK", ["probabilities", "k"], ["topk_probability", "topk_index"], axis=1),
        node("ArgMax", ["probabilities"], ["class_index"], axis=1, keepdims=0),
        node("ReduceMax", ["probabilities", "one"], ["class_probability"], keepdims=0),
        node("ReduceMin", ["others_scores", "one"], ["least_others"], keepdims=0),
        node("Neg", ["least_others"], ["mos"]),
        *_score(decision),
    ]
    mos_output = [helper.make_tensor_value_info("mos", TensorProto.FLOAT, ["N"])] if schema_version > 1 else []
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIZE_PIXELS, SIZE_PIXELS, 3])],
        [
            helper.make_tensor_value_info("class_index", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("class_probability", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("topk_index", TensorProto.INT64, ["N", 5]),
            helper.make_tensor_value_info("topk_probability", TensorProto.FLOAT, ["N", 5]),
            helper.make_tensor_value_info("others_scores", TensorProto.FLOAT, ["N", len(GROUPS)]),
            *mos_output,
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", sum(slice_sizes)]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 12]),
        ],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if any(name in user.input for user in nodes)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _part_constants(decision: Decision | None) -> dict[str, np.float32]:
    """Return the mean and the factor of every part by the names that `_score` uses."""
    parts = [] if decision is None else decision.parts
    means = {f"mean_{part.name}": np.float32(part.mean) for part in parts}
    return means | {f"factor_{part.name}": np.float32(part.weight / part.deviation) for part in parts}


def _score(decision: Decision | None) -> list[onnx.NodeProto]:
    """Return the nodes from `mos` and `logits` to `score`: the sum of the parts of *decision*, or MOS itself."""
    node = helper.make_node
    if decision is None:
        return [node("Identity", ["mos"], ["score"])]
    nodes = [
        node("Gather", ["logits", "class_columns"], ["class_logits"], axis=1),
        node("ReduceMax", ["class_logits", "one"], ["logit"], keepdims=0),
    ]
    for part in decision.parts:
        nodes += [
            node("Sub", [part.name, f"mean_{part.name}"], [f"centred_{part.name}"]),
            node("Mul", [f"centred_{part.name}", f"factor_{part.name}"], [f"term_{part.name}"]),
        ]
    return [*nodes, node("Sum", [f"term_{part.name}" for part in decision.parts], ["score"])]


def _faults(nan_on_black: bool, fail_on_white: bool) -> list[onnx.NodeProto]:
    """Return the nodes from `finite_logits` to `logits`: a term that is zero except on the images named."""
    node = helper.make_node
    brightness = node("ReduceSum", ["features", "one"], ["brightness"], keepdims=1)  # (N, 1), 0 to 12
    add = node("Add", ["finite_logits", "term"], ["logits"])
    if nan_on_black:
        return [brightness, node("Div", ["nothing", "brightness"], ["term"]), add]
    if fail_on_white:  # 12 is out of range
        index = node("Cast", ["brightness"], ["index"], to=TensorProto.INT64)
        return [brightness, index, node("Gather", ["twelve_nothings", "index"], ["term"]), add]
    return [node("Identity", ["finite_logits"], ["logits"])]


def _linear_layer() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights (12, C+K) and bias (C+K,): nearness to each class colour, and a constant for others."""
    colors = np.array(list(CLASSES.values()), np.float32)  # (C, 3)
    columns, bias = [], []
    for classes in GROUPS.values():
        columns.append(np.zeros(12, np.float32))
        bias.append(OTHERS_LOGIT)
        for index in classes:
            columns.append(SHARPNESS * 2 * np.repeat(colors[index], 4) / 4)  # features are channel by channel
            bias.append(-SHARPNESS * float(colors[index] @ colors[index]))
    return np.stack(columns, axis=1).astype(np.float32), np.array(bias, np.float32)


def _near(name: str) -> tuple[int, int, int]:
    red, green, blue = (round(20 + 215 * channel) for channel in CLASSES[name])
    return red, green, blue


def _canary(engine: Engine, name: str, color: tuple[int, int, int]) -> Canary:
    encoded = png(color)
    [row] = engine.predict(decode(encoded, height=SIZE_PIXELS, width=SIZE_PIXELS)[None])
    return Canary(
        name=name,
        encoded=encoded,
        class_index=row.class_index,
        score=row.score,
        others_scores=tuple(row.others_scores.tolist()),
    )


def _calibration(engine: Engine, manifest: Manifest, n: int = 200) -> Calibration:
    """Calibrate on *n* images near the class colours, by the order statistic at rank floor(0.05 (n + 1))."""
    random = np.random.default_rng(0)
    colors = np.array(list(CLASSES.values()))[random.integers(0, len(CLASSES), n)]  # (n, 3)
    pixels = 128 + 127 * (2 * colors - 1)[:, None, None] * random.uniform(0.2, 1, (n, 1, 1, 1))
    images = np.clip(pixels + random.normal(0, 8, (n, SIZE_PIXELS, SIZE_PIXELS, 3)), 0, 255).astype(np.uint8)
    scores = sorted(row.score for row in engine.predict(images))
    k = (n + 1) // 20
    return Calibration(
        threshold=scores[k - 1],
        tpr=0.95,
        confidence=0.5,
        method="order-statistic",
        n=n,
        k=k,
        tpr_interval=(0.91, 0.98),
        model_sha256=manifest.model_sha256,
        preprocess_sha256=manifest.input.sha256,
        created=CREATED,
        data={"images": n},
        reference=ReferenceScores(ranks=list(range(1, n + 1)), scores=scores),
    )
