"""Every backbone by its name."""

from __future__ import annotations

from training.errors import UnknownBackbone
from training.model.backbone import Backbone
from training.model.bit import KNOWN_BITS, Bit
from training.model.efficientnet_lite import LITE0, EfficientNetLite

BACKBONE_NAMES = (*KNOWN_BITS, LITE0)


def backbone(name: str) -> Backbone:
    """Build a backbone of `BACKBONE_NAMES` with random weights.

    Raises UnknownBackbone with the known names.
    """
    if name in KNOWN_BITS:
        return Bit(name, KNOWN_BITS[name])
    if name == LITE0:
        return EfficientNetLite()
    raise UnknownBackbone(f"There is no backbone {name!r}; choose one of {', '.join(BACKBONE_NAMES)}.")
