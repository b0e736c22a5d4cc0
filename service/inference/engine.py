"""Runs a bundle's graph with ONNX Runtime: uint8 images in, one Row for each out.

What was hashed is what runs: the session is made from the verified bytes, and no second file is ever opened.
N images, H x W pixels, C classes, K groups, D features, k = min(5, C) top classes.
"""

import ctypes
import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.bundle import Bundle, Manifest, sha256_hex
from service.errors import BundleError, ModelOutputError, NotReady, ProviderError
from service.verdict import Row, require_finite, rows_of

Provider = Literal["cuda", "tensorrt", "cpu"]

_INPUT = "images"
_FLOAT, _INT64, _UINT8 = "tensor(float)", "tensor(int64)", "tensor(uint8)"
_RUNTIME_NAMES: dict[Provider, str] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


class Engine:
    """One inference session; `provider` is the one in use, whatever was asked for.

    Raises BundleError where the graph does not fit the manifest, and ProviderError where *provider* is `cuda` or
    `tensorrt` and the session does not run on it.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: Literal["auto"] | Provider = "auto",
        intra_op_threads: int = 0,
        max_batch_size: int = 32,
    ) -> None:
        manifest = bundle.manifest
        self.max_batch_size = max_batch_size
        self._image_shape = (manifest.input.height, manifest.input.width, 3)
        # Only what a Row needs is computed while serving; `logits` and `features` are for evaluation.
        self._row_shapes = _row_shapes(manifest)
        wanted = _resolve(provider)
        self._session = _session(bundle, wanted, intra_op_threads, max_batch_size)
        # ONNX Runtime would answer a GPU's failure by making itself another session, on the CPU, and say so to stdout.
        self._session.disable_fallback()
        self.provider: Provider = _provider_in_use(self._session)
        if provider not in ("auto", self.provider):
            raise ProviderError(
                f"Provider {provider} was asked for and the session runs on {self.provider}; "
                "install its driver and libraries, or ask for auto."
            )
        _check_graph(self._session, manifest)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes that run: on a GPU the few that smaller batches are padded to, on the CPU the extremes."""
        if self.provider == "cpu":
            return (1, self.max_batch_size) if self.max_batch_size > 1 else (1,)
        powers = (1 << exponent for exponent in range(self.max_batch_size.bit_length()))
        return tuple(sorted({*powers, self.max_batch_size}))

    def warm_up(self) -> None:
        """Run every one of `batch_sizes` once, so that no request pays for the first run of a shape.

        Raises what `predict` does, and ModelOutputError on NaN or Inf.
        """
        for size in self.batch_sizes:  # mid-grey: nothing a sound model could trip over
            for row in self.predict(np.full((size, *self._image_shape), 128, np.uint8)):
                require_finite(row)

    def predict(self, images: NDArray[np.uint8]) -> list[Row]:
        """Return one Row for each of *images*, uint8 (N, H, W, 3) with N <= max_batch_size, in their order.

        A row may hold NaN or Inf: whoever judges it refuses it, and its neighbours are judged by their own numbers.

        Raises ModelOutputError on outputs of a wrong shape or count, NotReady where ONNX Runtime fails or no longer
        runs on `provider`, and ValueError for images of another type or shape. Call it from one thread at a time.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self._image_shape or len(images) > self.max_batch_size:
            raise ValueError(
                f"images must be uint8, (N <= {self.max_batch_size}, {', '.join(map(str, self._image_shape))})"
            )
        if len(images) == 0:
            return []
        try:
            outputs = self._session.run(list(self._row_shapes), {_INPUT: self._padded(images)})
        except Exception as error:  # the border where the runtime's errors, of many classes, become ours
            raise NotReady("ONNX Runtime could not run the model; restart the service.") from error
        self._require_provider()
        return list(self._rows([output[: len(images)] for output in outputs], len(images)))

    def _require_provider(self) -> None:
        """Raise NotReady unless the session is still on `provider`: no answer comes from another than the one named."""
        if self._session.get_providers()[0] != _RUNTIME_NAMES[self.provider]:
            raise NotReady(f"ONNX Runtime no longer runs the model on {self.provider}; restart the service.")

    def _padded(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fill *images* up to the next warmed batch size; every new shape costs a GPU a search for algorithms."""
        if self.provider == "cpu":
            return images
        size = next(size for size in self.batch_sizes if size >= len(images))
        padded = np.zeros((size, *self._image_shape), np.uint8)
        padded[: len(images)] = images
        return padded

    def _rows(self, outputs: list[NDArray[Any]], count: int) -> Iterator[Row]:
        arrays = dict(zip(self._row_shapes, outputs, strict=True))
        for name, output in arrays.items():
            if output.shape != (count, *self._row_shapes[name]):
                raise ModelOutputError(f"The model's {name} has a wrong shape; export the bundle again.")
        yield from rows_of(arrays)


def _resolve(provider: Literal["auto"] | Provider) -> Provider:
    if provider != "auto":
        return provider
    return "cuda" if _RUNTIME_NAMES["cuda"] in onnxruntime.get_available_providers() and _has_cuda_driver() else "cpu"


def _has_cuda_driver() -> bool:
    # The list of available providers says how the wheel was built; asking for CUDA without a driver only makes noise.
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _session(bundle: Bundle, provider: Provider, intra_op_threads: int, max_batch_size: int) -> Any:
    model = bundle.model_path.read_bytes()
    if sha256_hex(model) != bundle.manifest.model_sha256:
        raise BundleError(f"{bundle.model_path} changed after it was verified; put the exported bundle back.")
    if provider != "cpu":
        if _RUNTIME_NAMES[provider] not in onnxruntime.get_available_providers():
            raise ProviderError(f"This ONNX Runtime has no {provider}; install onnxruntime-gpu, or ask for auto.")
        onnxruntime.preload_dlls(directory="")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    # Threads that spin for their next piece of work take the cores from those that decode: on two cores, twice the CPU
    # time an image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # External data would escape the hash: it is looked for where no file can be, so a graph that has any fails.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=_provider_options(provider, bundle.manifest, max_batch_size)
        )
    except Exception as error:  # the border where the runtime's errors, of many classes, become ours
        raise BundleError(
            f"ONNX Runtime cannot load {bundle.model_path}; export it again, as one file without external data."
        ) from error


def _provider_options(provider: Provider, manifest: Manifest, max_batch_size: int) -> list[tuple[str, dict[str, str]]]:
    cpu: tuple[str, dict[str, str]] = (_RUNTIME_NAMES["cpu"], {})
    # No TF32: its short mantissa moves scores across a threshold that was calibrated without it. Heuristic search
    # picks the same algorithms at every start, where a timed search may not.
    cuda = (_RUNTIME_NAMES["cuda"], {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})
    if provider == "cpu":
        return [cpu]
    if provider == "cuda":
        return [cuda, cpu]
    shape = f"{manifest.input.height}x{manifest.input.width}x3"
    profile = {
        "trt_profile_min_shapes": f"{_INPUT}:1x{shape}",
        "trt_profile_opt_shapes": f"{_INPUT}:{max_batch_size}x{shape}",
        "trt_profile_max_shapes": f"{_INPUT}:{max_batch_size}x{shape}",
    }
    return [(_RUNTIME_NAMES["tensorrt"], profile), cuda, cpu]


def _provider_in_use(session: Any) -> Provider:
    # The session's own list after creation: unlike the list of available providers, it does not lie.
    first = session.get_providers()[0]
    return next(provider for provider, name in _RUNTIME_NAMES.items() if name == first)


def _row_shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """Shape of each Row output for one image; a graph of schema 1 has no `mos`."""
    k = min(5, len(manifest.classes))
    shapes: dict[str, tuple[int, ...]] = {
        "class_index": (),
        "class_probability": (),
        "topk_index": (k,),
        "topk_probability": (k,),
        "others_scores": (len(manifest.groups),),
        "score": (),
    }
    return shapes if manifest.schema_version == 1 else shapes | {"mos": ()}


def _check_graph(session: Any, manifest: Manifest) -> None:
    """Raise BundleError unless the graph has the inputs and outputs that the manifest implies."""
    shapes: dict[str, tuple[int | None, ...]] = {
        **_row_shapes(manifest),
        "logits": (len(manifest.classes) + len(manifest.groups),),
        "features": (None,),
    }
    expected = {
        name: (_INT64 if name in ("class_index", "topk_index") else _FLOAT, shape) for name, shape in shapes.items()
    }
    _check_values("input", session.get_inputs(), {_INPUT: (_UINT8, (manifest.input.height, manifest.input.width, 3))})
    _check_values("output", session.get_outputs(), expected)


def _check_values(kind: str, values: Any, expected: dict[str, tuple[str, tuple[int | None, ...]]]) -> None:
    """Compare ONNX values with *expected* {name: (type, shape of one image's part)}.

    The first dimension must be dynamic; a dimension that the graph does not state passes, for `predict` checks it.
    """
    actual = {value.name: value for value in values}
    if actual.keys() != expected.keys():
        raise BundleError(f"The model's {kind}s are {sorted(actual)}, not {sorted(expected)}; export the bundle again.")
    for name, (kind_of_tensor, shape) in expected.items():
        batch, *rest = actual[name].shape or [0]
        fits = len(rest) == len(shape) and all(
            not isinstance(stated, int) or wanted in (None, stated) for stated, wanted in zip(rest, shape, strict=False)
        )
        if actual[name].type != kind_of_tensor or isinstance(batch, int) or not fits:
            raise BundleError(
                f"The model's {kind} {name} is {actual[name].type} {actual[name].shape}, which does not fit the "
                "manifest; export the bundle again."
            )
