"""What the device can do: matrix products, and bytes moved."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.benchmarks.gpu.results import Plan, Results, Row, median_seconds

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def measure(plan: Plan, results: Results) -> None:
    """One row a precision, in operations a second, and one a way of moving bytes."""
    for precision in DTYPES if plan.device == "cuda" else ("float32", "bfloat16"):
        results.add({"way": "matrix product", "precision": precision}, lambda p=precision: _product(plan, p))
    if plan.device == "cuda":
        for way in ("copy from pinned memory", "copy from pageable memory", "copy on the device"):
            results.add({"way": way}, lambda way=way: _copy(plan, way))


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(named)} x {named[0]}" if named else platform.processor()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let torch round float32 to TF32, or not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def awaited(run: Callable[[], object], device: str) -> Callable[[], object]:
    """*run*, and then all that it launched."""

    def wait() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    return wait


def _product(plan: Plan, precision: str) -> Row:
    side = 256 if plan.quick else 8192 if plan.device == "cuda" else 2048
    left, right = (torch.randn(side, side, device=plan.device).to(DTYPES[precision]) for _ in range(2))
    with tf32(precision == "tf32"):
        seconds = median_seconds(awaited(lambda: left @ right, plan.device), plan.seconds)
    name = device_name(plan.device)
    return {"name": name, "torch": torch.__version__, "flops": 2 * side**3 / seconds}


def _copy(plan: Plan, way: str) -> Row:
    size_bytes = 2**20 if plan.quick else 2**28
    source = torch.zeros(size_bytes, dtype=torch.uint8, device="cuda" if way.endswith("device") else "cpu")
    if way.endswith("pinned memory"):
        source = source.pin_memory()
    target = torch.zeros(size_bytes, dtype=torch.uint8, device="cuda")
    seconds = median_seconds(awaited(lambda: target.copy_(source), "cuda"), plan.seconds)
    return {"bytes_per_second": size_bytes / seconds}
