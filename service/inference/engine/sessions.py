"""An ONNX Runtime session of a bundle's verified bytes, on the provider that was asked for.

Whatever would let a GPU compute other numbers than the CPU that a bundle was calibrated on is turned off.
"""

import ctypes
import logging
import os
import time
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from service.bundle import Bundle, Manifest, sha256_hex
from service.errors import BundleError, ProviderError

Provider = Literal["cuda", "tensorrt", "cpu"]

INPUT = "images"
RUNTIME_NAMES: dict[Provider, str] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

_log = logging.getLogger(__name__)


def resolve(provider: Literal["auto"] | Provider) -> Provider:
    """Return the provider to try: `auto` is CUDA where this ONNX Runtime has it and there is a driver."""
    if provider != "auto":
        return provider
    return "cuda" if RUNTIME_NAMES["cuda"] in onnxruntime.get_available_providers() and _has_cuda_driver() else "cpu"


def _has_cuda_driver() -> bool:
    # The list of available providers says how the wheel was built; asking for CUDA without a driver only makes noise.
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def built_for() -> str:
    """Say which CUDA this ONNX Runtime needs: wheels change it from one version to the next."""
    return f"CUDA {onnxruntime.cuda_version}" if onnxruntime.cuda_version else "CUDA"


def open_session(
    bundle: Bundle,
    provider: Provider,
    *,
    threads: int,
    max_batch_size: int,
    spins: bool = False,
    cuda_graphs: bool = False,
    tensorrt_cache: Path | None = None,
) -> Any:
    """Return a session of the model that was verified, on *provider* or, by ONNX Runtime's own choice, on the CPU.

    A run of it has *threads* of the CPU; where it *spins* they wait for each other by trying again and again.

    Raises BundleError where the file has changed or cannot be loaded, ProviderError where this ONNX Runtime was built
    without *provider*.
    """
    model = bundle.model_path.read_bytes()
    if sha256_hex(model) != bundle.manifest.model_sha256:
        raise BundleError(f"{bundle.model_path} changed after it was verified; put the exported bundle back.")
    if provider != "cpu":
        load_libraries(provider)
    started_at = time.monotonic()
    try:
        session = onnxruntime.InferenceSession(
            model,
            session_options(provider, threads, spins=spins),
            providers=_provider_options(provider, bundle.manifest, max_batch_size, cuda_graphs, tensorrt_cache),
        )
    except Exception as error:  # the border where the runtime's errors, of many classes, become ours
        remedy = "export it again, as one file without external data"
        if provider == "cuda" and cuda_graphs:
            remedy += ", or serve it without MOS_CUDA_GRAPHS, which not every graph allows"
        raise BundleError(f"ONNX Runtime cannot load {bundle.model_path}; {remedy}.") from error
    # ONNX Runtime would answer a GPU's failure by making itself another session, on the CPU, and say so to stdout.
    session.disable_fallback()
    if provider == "tensorrt":
        kept = "it is not kept, see MOS_TENSORRT_CACHE" if tensorrt_cache is None else f"it is kept in {tensorrt_cache}"
        _log.info("TensorRT built or read its engine in %.1f s; %s.", time.monotonic() - started_at, kept)
    return session


def provider_in_use(session: Any) -> Provider:
    """The provider that *session* is on."""
    # The session's own list after creation: unlike the list of available providers, it does not lie.
    first = session.get_providers()[0]
    return next(provider for provider, name in RUNTIME_NAMES.items() if name == first)


def load_libraries(provider: Provider) -> None:
    """Make CUDA's libraries known before a session needs them; raises ProviderError where there is no such provider."""
    if RUNTIME_NAMES[provider] not in onnxruntime.get_available_providers():
        raise ProviderError(f"This ONNX Runtime has no {provider}; install onnxruntime-gpu, or ask for auto.")
    if provider == "tensorrt":
        # TensorRT rounds float32 to TF32 unless told not to, and this variable is the only way to tell it.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    onnxruntime.preload_dlls(directory="")


def session_options(provider: Provider, threads: int, *, spins: bool = False) -> Any:
    """Options that do not depend on a bundle."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Spinning threads take the cores from those that decode: it is for a run that has every core to itself, and even
    # then it ends with the run.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # External data would escape the hash: it is looked for where no file can be, so a graph that has any fails.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", str(int(provider != "cpu")))
    return options


def _provider_options(
    provider: Provider, manifest: Manifest, max_batch_size: int, cuda_graphs: bool, tensorrt_cache: Path | None
) -> list[tuple[str, dict[str, str]]]:
    cpu: tuple[str, dict[str, str]] = (RUNTIME_NAMES["cpu"], {})
    if provider == "cpu":
        return [cpu]
    if provider == "cuda":
        return [(RUNTIME_NAMES["cuda"], cuda_options(cuda_graphs=cuda_graphs)), cpu]
    tensorrt = tensorrt_options(manifest, max_batch_size, tensorrt_cache)
    return [(RUNTIME_NAMES["tensorrt"], tensorrt), (RUNTIME_NAMES["cuda"], cuda_options()), cpu]


def cuda_options(*, cuda_graphs: bool = False) -> dict[str, str]:
    """Options of the CUDA provider.

    No TF32: its short mantissa moves scores across a threshold that was calibrated without it. Heuristic search picks
    the same algorithms at every start, where a timed search may not. Batch sizes are few and the largest runs first, so
    the arena asks for what it needs and not for the next power of two.
    """
    return {
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": str(int(cuda_graphs)),
    }


def tensorrt_options(manifest: Manifest, max_batch_size: int, cache: Path | None) -> dict[str, str]:
    """Options of the TensorRT provider: one engine for all batch sizes; *cache* has a folder for each model."""
    shape = f"{manifest.input.height}x{manifest.input.width}x3"
    options = {
        "trt_profile_min_shapes": f"{INPUT}:1x{shape}",
        "trt_profile_opt_shapes": f"{INPUT}:{max_batch_size}x{shape}",
        "trt_profile_max_shapes": f"{INPUT}:{max_batch_size}x{shape}",
        # TensorRT refuses a graph with float16 in it unless it may compute in float16.
        "trt_fp16_enable": str(int(manifest.precision == "float16")),
    }
    if cache is None:
        return options
    folder = cache / manifest.model_sha256
    folder.mkdir(parents=True, exist_ok=True)
    return options | {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
