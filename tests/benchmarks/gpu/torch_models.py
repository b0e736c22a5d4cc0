"""torch on the same network, as it is and compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.benchmarks.gpu.models import convolution_flops, subject
from tests.benchmarks.gpu.rates import DTYPES, awaited, tf32
from tests.benchmarks.gpu.results import Plan, Results, Row, median_seconds

# `reduce-overhead` is CUDA graphs. The backend without a compiler shows no more than that the network can be traced.
COMPILED: dict[str, dict[str, Any]] = {"compile": {}, "compile, graphs": {"mode": "reduce-overhead"}}
TRACED: dict[str, dict[str, Any]] = {"traced": {"backend": "eager"}}


def measure(plan: Plan, results: Results) -> None:
    """Rows of every model, way, precision and batch size; pictures are copied to the device from pinned memory."""
    for name, side in plan.models.items():
        if plan.is_over:  # building and exporting a model takes minutes too
            return
        one = subject(name, side, plan.folder)
        flops = convolution_flops(one)
        guard = one.guard.to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for way, options in ({"eager": None} | (TRACED if plan.quick else COMPILED)).items():
            for precision in DTYPES if plan.device == "cuda" else ("float32", "bfloat16"):
                torch.compiler.reset()  # type: ignore[no-untyped-call]
                run = guard if options is None else torch.compile(guard, dynamic=False, **options)
                for size in plan.batch_sizes:
                    key = {"model": name, "precision": precision, "way": way, "batch": size}
                    measured = functools.partial(_row, plan, run, precision, size, side, flops)
                    results.add(key, measured)


def _row(plan: Plan, guard: Callable[..., Any] | nn.Module, precision: str, size: int, side: int, flops: float) -> Row:
    pictures = torch.randint(0, 256, (size, side, side, 3), dtype=torch.uint8)
    if plan.device == "cuda":
        pictures = pictures.pin_memory()
    dtype = DTYPES[precision]

    def run() -> None:
        # Autocast keeps normalisation and softmax in float32, as the bundles of float16 do.
        with torch.autocast(plan.device, dtype, enabled=dtype != torch.float32):
            outputs = guard(pictures.to(plan.device, non_blocking=True))
        for output in outputs[:7]:  # what a Row needs
            output.cpu()

    with torch.inference_mode(), tf32(precision == "tf32"):
        rate = size / median_seconds(awaited(run, plan.device), plan.seconds)
    return {"images_per_second": rate, "flops": flops, "torch": torch.__version__}
