"""The authors' fine-tuned ImageNet checkpoint -> a bundle, uncalibrated.

Nothing is fitted. Backbone and group head are the checkpoint's; its rows, which are in the order of the ILSVRC
development kit, go to the classes that they belong to, by sorted WordNet id as image folders have them.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from service.bundle import Bundle, Group, InputSpec, Manifest, sha256_hex, write_bundle
from training.bundling.graph import Guard
from training.bundling.proof import Precision, prove
from training.errors import CheckpointError
from training.model.backbones import backbone
from training.model.network import Network
from training.model.onnx_graph import fold
from training.weights import ilsvrc_order
from training.weights.reading import backbone_name, is_of_authors, read_backbone, read_weights

SIDE = 480
"""Pixels, to which the authors squash their test pictures."""


def export_authors(
    checkpoint: Path, out: Path, *, name: str, version: str = "1", side: int = SIDE, precision: Precision = "float32"
) -> Bundle:
    """Write the bundle of a checkpoint of the authors' code, with a group head for ImageNet's 1,000 classes, to `out`.

    Its classes are WordNet ids. Raises CheckpointError for any other checkpoint, ExportError as `prove` does.
    """
    network = fold(_network(checkpoint))
    spec = InputSpec(height=side, width=side)
    proven = prove(Guard(network), spec, precision)
    grouping = ilsvrc_order.grouping()
    manifest = Manifest(
        name=name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        model_sha256=sha256_hex(proven.model),
        input=spec,
        classes=list(ilsvrc_order.classes()),
        groups=[
            Group(name=group, classes=list(members))
            for group, members in zip(grouping.names, grouping.members, strict=True)
        ],
        backbone=network.backbone.name,
        precision=precision,
        training={"weights": _origin(checkpoint), "grouping": "taxonomy:imagenet1k"},
    )
    return write_bundle(out, manifest=manifest, model=proven.model, canaries=proven.canaries)


def _network(checkpoint: Path) -> Network:
    if not is_of_authors(checkpoint):
        raise CheckpointError(
            f"{checkpoint} is no checkpoint of the authors' code; give it to `train --weights`, which fits heads on it."
        )
    head = read_weights(checkpoint).group_head
    if head is None:
        raise CheckpointError(
            f"{checkpoint} has no group head of ImageNet's 1,000 classes in 8 groups; name the one fine-tuned for MOS."
        )
    extractor = backbone(backbone_name(checkpoint))
    read_backbone(checkpoint, extractor)
    network = Network(extractor, ilsvrc_order.grouping())
    weight, bias = head
    network.group.linear.load_state_dict({"weight": weight, "bias": bias})
    return network.eval()


def _origin(checkpoint: Path) -> str:
    with checkpoint.open("rb") as opened:
        return f"{checkpoint.name} (sha256 {hashlib.file_digest(opened, 'sha256').hexdigest()}), by the authors of MOS"
