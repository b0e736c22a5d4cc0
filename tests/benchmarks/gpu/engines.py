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
from service.inference.engine.runs import IN_FLIGHT, BoundRuns, CoreRuns, Runs
from service.inference.engine.sessions import (
    RUNTIME_NAMES,
    Provider,
    cuda_options,
    load_libraries,
    provider_in_use,
    session_options,
    tensorrt_options,
)
from service.machine import usable_cores
from tests.benchmarks.gpu.models import Subject, convolution_flops, subject
from tests.benchmarks.gpu.results import Plan, Results, Row, median_seconds

Opened = Callable[[], tuple[Runs, float]]  # a way through a session, and the seconds that opening it took
COMPARED = 4  # pictures whose MOS is compared with the CPU's in float32


@dataclass(frozen=True)
class Way:
    """A provider, its options beside the engine's own, and how batches are taken through it."""

    provider: Provider
    is_bound: bool = True
    threads: int = 1
    options: dict[str, str] = field(default_factory=dict)
    precisions: tuple[str, ...] = ("float32", "float16")
    at_few_sizes: bool = False


ALL = ("float32", "tf32", "float16")
FEW_SIZES = (1, 8, 32)  # enough to choose an option by
ON_CUDA = {
    "plain": Way("cuda", is_bound=False, precisions=ALL),
    "bound": Way("cuda", precisions=ALL),
    "graphs": Way("cuda", options={"enable_cuda_graph": "1"}, precisions=ALL),
    "bound, two in flight": Way("cuda", threads=IN_FLIGHT, precisions=ALL),
    "graphs, two in flight": Way("cuda", threads=IN_FLIGHT, options={"enable_cuda_graph": "1"}, at_few_sizes=True),
    "NHWC": Way("cuda", options={"prefer_nhwc": "1"}, at_few_sizes=True),
    "exhaustive search": Way("cuda", options={"cudnn_conv_algo_search": "EXHAUSTIVE"}, at_few_sizes=True),
    "default search": Way("cuda", options={"cudnn_conv_algo_search": "DEFAULT"}, at_few_sizes=True),
}
ON_TENSORRT = {"TensorRT": Way("tensorrt")}
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
    _measure(plan, results, ON_CUDA if plan.device == "cuda" else ON_CPU)


def measure_tensorrt(plan: Plan, results: Results) -> None:
    """The same on TensorRT; a part of its own and the last, for it turns TF32 off for the whole process."""
    _measure(plan, results, ON_TENSORRT if plan.device == "cuda" else {})


def _measure(plan: Plan, results: Results, ways: dict[str, Way]) -> None:
    for name, side in plan.models.items():
        if plan.is_over or not ways:  # building and exporting a model takes minutes too
            return
        reference = _reference(subject(name, side, plan.folder))
        for way_name, way in ways.items():
            sizes = FEW_SIZES if way.at_few_sizes else plan.batch_sizes
            for precision in way.precisions:
                # One session for all batch sizes, as in the service, opened where a row is still wanted.
                opened = functools.cache(functools.partial(_opened, reference.one, way, precision, sizes))
                for size in sizes:
                    key = {"model": name, "precision": precision, "way": way_name, "batch": size}
                    results.add(key, functools.partial(_row, reference, opened, way.threads, size, plan.seconds))


def _reference(one: Subject) -> Reference:
    pictures = np.random.default_rng(0).integers(0, 256, (COMPARED, one.side, one.side, 3), np.uint8)
    runs, _ = _opened(one, CPU, "float32", [COMPARED])
    return Reference(one, convolution_flops(one), pictures, _mos(runs, pictures))


def _row(reference: Reference, opened: Opened, threads: int, size: int, seconds: float) -> Row:
    runs, open_seconds = opened()
    return {
        "images_per_second": _rate(runs, threads, size, reference.one.side, seconds),
        "moved": float(np.abs(_mos(runs, reference.pictures) - reference.mos).max()),
        "flops": reference.flops,
        "open_seconds": open_seconds,
        "onnxruntime": onnxruntime.__version__,
    }


def _opened(one: Subject, way: Way, precision: str, sizes: Sequence[int]) -> tuple[Runs, float]:
    started_at = time.perf_counter()
    session = _session(one, way, precision, max(*sizes, COMPARED))
    return _runs(one, session, way, sorted({*sizes, COMPARED})), time.perf_counter() - started_at


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
    options = session_options(way.provider, usable_cores() if way.provider == "cpu" else 1)
    session = onnxruntime.InferenceSession(bundle.model_path.read_bytes(), options, providers=providers)
    session.disable_fallback()
    if provider_in_use(session) != way.provider:
        raise RuntimeError(f"the session runs on {provider_in_use(session)}")
    require_placed(session, way.provider)
    return session


def _runs(one: Subject, session: Any, way: Way, sizes: Sequence[int]) -> Runs:
    outputs = row_outputs(one.bundles["float32"].manifest)
    if not way.is_bound:
        return CoreRuns(session, outputs)
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
