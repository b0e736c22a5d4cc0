"""Options of a session, as far as they can be told without the device that they are for."""

from pathlib import Path

import pytest

from service.bundle import Bundle
from service.inference.engine.sessions import cuda_options, session_options, tensorrt_options


def test_threads_spin_only_where_they_are_told_to() -> None:
    """Spinning takes the cores from those that decode, and never outlasts a run."""
    for spins in (False, True):
        options = session_options("cpu", 3, spins=spins)
        assert options.intra_op_num_threads == 3
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spins))
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_cuda_computes_in_full_float32(cuda_graphs: bool) -> None:
    """Whatever else is set, a threshold that was calibrated in float32 meets scores of float32."""
    options = cuda_options(cuda_graphs=cuda_graphs)
    assert options["use_tf32"] == "0"
    assert options["enable_cuda_graph"] == str(int(cuda_graphs))


def test_tensorrt_keeps_its_engine_where_it_is_told_to(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Each model has a folder of its own; without a cache nothing is written."""
    manifest = tiny_bundle.manifest
    assert not any("cache" in name for name in tensorrt_options(manifest, 32, None))
    options = tensorrt_options(manifest, 32, tmp_path / "cache")
    assert options["trt_engine_cache_enable"] == "1"
    assert Path(options["trt_engine_cache_path"]) == tmp_path / "cache" / manifest.model_sha256
    assert Path(options["trt_engine_cache_path"]).is_dir()


def test_tensorrt_builds_one_engine_for_every_batch_size(tiny_bundle: Bundle) -> None:
    """Its profile goes from one image to a full batch."""
    options = tensorrt_options(tiny_bundle.manifest, 20, None)
    assert options["trt_profile_min_shapes"] == "images:1x8x8x3"
    assert options["trt_profile_max_shapes"] == options["trt_profile_opt_shapes"] == "images:20x8x8x3"


@pytest.mark.parametrize(("precision", "allowed"), [("float32", "0"), ("float16", "1")])
def test_tensorrt_uses_half_precision_only_in_such_a_bundle(tiny_bundle: Bundle, precision: str, allowed: str) -> None:
    """The bundle says what was calibrated."""
    manifest = tiny_bundle.manifest.model_copy(update={"precision": precision})
    assert tensorrt_options(manifest, 32, None)["trt_fp16_enable"] == allowed
