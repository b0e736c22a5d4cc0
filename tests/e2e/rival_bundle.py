"""Another version of a bundle that judges differently: its logits are damped, so that every score is another one."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from service.bundle import Bundle, read_bundle, sha256_hex, write_bundle
from service.inference.engine import Engine
from training.bundling.canaries import pixels_of

DAMPING = 0.9


def write_rival(original: Path, path: Path, *, version: str) -> Bundle:
    """Write to *path* what *original* would be if it were less sure, with its canaries and its threshold."""
    bundle = read_bundle(original)
    model = _damped((original / "model.onnx").read_bytes())
    manifest = bundle.manifest.model_copy(update={"version": version, "model_sha256": sha256_hex(model)})
    assert bundle.calibration is not None
    calibration = bundle.calibration.model_copy(update={"model_sha256": manifest.model_sha256})
    bare = write_bundle(path, manifest=manifest, model=model)
    engine = Engine(bare, provider="cpu", max_batch_size=1)
    canaries = []
    for canary in bundle.canaries:
        [row] = engine.predict([pixels_of(canary.encoded, manifest.input)])
        outputs = {
            "class_index": row.class_index,
            "score": row.score,
            "others_scores": tuple(row.others_scores.tolist()),
        }
        canaries.append(canary.model_copy(update=outputs))
    return write_bundle(path, manifest=manifest, model=model, canaries=canaries, calibration=calibration)


def _damped(serialized: bytes) -> bytes:
    """The graph with its logits multiplied by `DAMPING`."""
    model = onnx.load_from_string(serialized)
    [(index, source)] = [(i, node) for i, node in enumerate(model.graph.node) if "logits" in node.output]
    source.output[:] = ["undamped" if name == "logits" else name for name in source.output]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(DAMPING), "damping"))
    model.graph.node.insert(index + 1, helper.make_node("Mul", ["undamped", "damping"], ["logits"]))
    return model.SerializeToString()
