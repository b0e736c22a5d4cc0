"""ONNX Runtime on one graph in every way that the engine may take: binding, graphs, layouts, searches, TensorRT."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.inference.engine.checks import require_placed, row_outputs
from service.inference.engine.runs import IN_FLIGHT, BoundRuns, PlainRuns, Runs
from service.inference.engine.sessions import (
    RUNTIME_NAMES,
    Provider,
    cuda_options,
    load_libraries,
    provider_in_use,
    session_options,
    tensorrt_options,
)
from tests.benchmarks.gpu.models import Subject, convolution_flops, subject
from tests.benchmarks.gpu.results import Plan, Results, Row, median_seconds

Opened = Callable[[], tuple[Any, float]]  # a session, and the seconds that opening it took
COMPARED = 4  # pictures whose MOS is compared with the CPU's in float32


@dataclass(frozen=True)
class Way:
    """A provider, its options beside the engine's own, and how batches are taken through it."""

    provider: Provider
    is_bound: bool = True
    threads: int = 1
    options: dict[str, str] = field(default_factory=dict)


ON_CUDA = {
    "plain": Way("cuda", is_bound=False),
    "bound": Way("cuda"),
    "bound, two in flight": Way("cuda", threads=IN_FLIGHT),
    "graphs": Way("cuda", options={"enable_cuda_graph": "1"}),
    "graphs, two in flight": Way("cuda", threads=IN_FLIGHT, options={"enable_cuda_graph": "1"}),
    "NHWC": Way("cuda", options={"prefer_nhwc": "1"}),
    "exhaustive search": Way("cuda", options={"cudnn_conv_algo_search": "EXHAUSTIVE"}),
    "default search": Way("cuda", options={"cudnn_conv_algo_search": "DEFAULT"}),
    "TensorRT": Way("tensorrt"),
}
ON_CPU = {
    "plain": Way("cpu", is_bound=False),
    "bound": Way("cpu"),
    "bound, two in flight": Way("cpu", threads=IN_FLIGHT),
}

CPU = ON_CPU["plain"]


@dataclass(frozen=True)
class Reference:
    """A model, pictures, and what the CPU says of them in float32."""

    one: Subject
    flops: float
    pictures: NDArray[np.uint8]
    mos: NDArray[np.float32]


def measure(plan: Plan, results: Results) -> None:
    """Rows of every model, way, precision and batch size."""
    for name, side in plan.models.items():
        reference = _reference(subject(name, side, plan.folder))
        for way_name, way in (ON_CUDA if plan.device == "cuda" else ON_CPU).items():
            for precision in ("float32", "tf32", "float16") if way.provider == "cuda" else ("float32", "float16"):
                # One session for all batch sizes, as in the service, opened where a row is still wanted.
                opened = functools.cache(
                    functools.partial(_opened, reference.one, way, precision, max(plan.batch_sizes))
                )
                for size in plan.batch_sizes:
                    key = {"model": name, "precision": precision, "way": way_name, "batch": size}
                    results.add(key, functools.partial(_row, reference, opened, way, size, plan.seconds))


def _reference(one: Subject) -> Reference:
    pictures = np.random.default_rng(0).integers(0, 256, (COMPARED, one.side, one.side, 3), np.uint8)
    runs = _runs(one, _session(one, CPU, "float32", COMPARED), CPU, [COMPARED])
    return Reference(one, convolution_flops(one), pictures, _mos(runs, pictures))


def _row(reference: Reference, opened: Opened, way: Way, size: int, seconds: float) -> Row:
    session, open_seconds = opened()
    runs = _runs(reference.one, session, way, sorted({size, COMPARED}))
    return {
        "images_per_second": _rate(runs, way.threads, size, reference.one.side, seconds),
        "moved": float(np.abs(_mos(runs, reference.pictures) - reference.mos).max()),
        "flops": reference.flops,
        "open_seconds": open_seconds,
        "onnxruntime": onnxruntime.__version__,
    }


def _opened(one: Subject, way: Way, precision: str, largest: int) -> tuple[Any, float]:
    started_at = time.perf_counter()
    return _session(one, way, precision, largest), time.perf_counter() - started_at


def _session(one: Subject, way: Way, precision: str, largest: int) -> Any:
    """A session with the engine's own options but for those of *way*."""
    bundle = one.bundles["float16" if precision == "float16" else "float32"]
    providers: list[tuple[str, dict[str, str]]] = [(RUNTIME_NAMES["cpu"], {})]
    if way.provider != "cpu":
        load_libraries(way.provider)
        tf32 = {"use_tf32": str(int(precision == "tf32"))}
        providers.insert(0, (RUNTIME_NAMES["cuda"], cuda_options() | tf32 | way.options))
    if way.provider == "tensorrt":
        cache = one.bundles["float32"].path.parent / "tensorrt"
        providers.insert(0, (RUNTIME_NAMES["tensorrt"], tensorrt_options(bundle.manifest, largest, cache)))
    options = session_options(way.provider, 0)
    session = onnxruntime.InferenceSession(bundle.model_path.read_bytes(), options, providers=providers)
    session.disable_fallback()
    if provider_in_use(session) != way.provider:
        raise RuntimeError(f"the session runs on {provider_in_use(session)}")
    require_placed(session, way.provider)
    return session


def _runs(one: Subject, session: Any, way: Way, sizes: Sequence[int]) -> Runs:
    outputs = row_outputs(one.bundles["float32"].manifest)
    if not way.is_bound:
        return PlainRuns(session, outputs)
    return BoundRuns(
        session,
        outputs,
        image_shape=(one.side, one.side, 3),
        batch_sizes=sizes,
        memory="cpu" if way.provider == "cpu" else "cuda",
        cuda_graphs="enable_cuda_graph" in way.options,
    )


def _mos(runs: Runs, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    mos: NDArray[np.float32] = runs.run(pictures, len(pictures))[-1]  # the last output that a Row needs
    return mos


def _rate(runs: Runs, threads: int, size: int, side: int, seconds: float) -> float:
    """Pictures a second, stacking and copying included, asked for by *threads* at a time."""
    pictures = list(np.random.default_rng(1).integers(0, 256, (size, side, side, 3), np.uint8))
    if threads == 1:
        return size / median_seconds(lambda: runs.run(pictures, size), seconds)
    for _ in range(2 * threads):
        runs.run(pictures, size)
    ends_at = time.perf_counter() + seconds

    def keep_asking(_: int) -> int:
        count = 0
        while count < 3 or time.perf_counter() < ends_at:
            runs.run(pictures, size)
            count += 1
        return count

    started_at = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        batches = sum(pool.map(keep_asking, range(threads)))
    return size * batches / (time.perf_counter() - started_at)
