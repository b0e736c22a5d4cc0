"""Networks of random weights, and bundles of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from service.bundle import (
    Bundle,
    Calibration,
    Group,
    InputSpec,
    Manifest,
    ReferenceScores,
    read_bundle,
    sha256_hex,
    write_bundle,
)
from training.bundling.graph import Guard
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.half import convolve_in_half
from training.model.network import Network
from training.model.onnx_graph import fold

GROUP_COUNT, CLASSES_PER_GROUP = 8, 125
MEMBERS = tuple(tuple(range(g * CLASSES_PER_GROUP, (g + 1) * CLASSES_PER_GROUP)) for g in range(GROUP_COUNT))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Subject:
    """A network to measure, with its bundles by precision."""

    name: str
    side: int
    guard: Guard
    bundles: dict[str, Bundle]


def subject(name: str, side: int, folder: Path) -> Subject:
    """Build it, the same weights each time, and export its bundles into *folder* where they are not there yet."""
    torch.manual_seed(0)
    network = Network(backbone(name), Grouping(tuple(f"group {i}" for i in range(GROUP_COUNT)), MEMBERS))
    for head in (network.flat, network.group.linear):
        nn.init.normal_(head.weight, std=0.1)
    guard = Guard(fold(network)).eval()
    paths = {precision: folder / f"{name}-{side}-{precision}" for precision in ("float32", "float16")}
    if not all(path.exists() for path in paths.values()):
        model = guard.to_onnx(side)
        for precision, path in paths.items():
            _write(path, model if precision == "float32" else convolve_in_half(model), name, side, precision)
    return Subject(name, side, guard, {precision: read_bundle(path) for precision, path in paths.items()})


def convolution_flops(subject: Subject) -> float:
    """Operations of the convolutions for one picture, a multiplication and an addition counted as two."""
    counted: list[float] = []

    def count(convolution: nn.Conv2d, _: object, output: Tensor) -> None:
        counted.append(2.0 * output[0].numel() * convolution.weight[0].numel())

    hooks = [part.register_forward_hook(count) for part in subject.guard.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        subject.guard(torch.zeros(1, subject.side, subject.side, 3, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def _write(path: Path, model: bytes, name: str, side: int, precision: str) -> None:
    manifest = Manifest(
        name=name,
        version="1",
        created=NOW,
        model_sha256=sha256_hex(model),
        input=InputSpec(height=side, width=side),
        classes=[f"class {i}" for i in range(GROUP_COUNT * CLASSES_PER_GROUP)],
        groups=[Group(name=f"group {i}", classes=list(classes)) for i, classes in enumerate(MEMBERS)],
        backbone=name,
        precision=precision,
        training={},
        metrics={},
    )
    write_bundle(path, manifest=manifest, model=model, calibration=_calibration(manifest))


def _calibration(manifest: Manifest) -> Calibration:
    """A threshold, so that the service serves; it is fitted to nothing."""
    scores = [-1 + i / 200 for i in range(200)]
    return Calibration(
        threshold=scores[9],
        tpr=0.95,
        confidence=0.5,
        method="order-statistic",
        n=200,
        k=10,
        tpr_interval=(0.91, 0.98),
        model_sha256=manifest.model_sha256,
        preprocess_sha256=manifest.input.sha256,
        created=NOW,
        data={"images": 200},
        reference=ReferenceScores(ranks=list(range(1, 201)), scores=scores),
    )
