"""What `train` chooses where nothing is typed: from the recipe, the number of pictures and their sizes.

The defaults for heads on a frozen backbone, which is how people's own folders are fitted, were measured on pictures
from other places, on classes that were left out and on foreign pictures; training/RESULTS.md has the figures.
"""

from __future__ import annotations

import numpy as np
import torch

from training.data.outliers import PROCEDURAL
from training.data.pixels import short_sides
from training.data.sets import DataSet
from training.decision.statistic import MOS
from training.model.backbone import Backbone
from training.model.backbones import backbone
from training.model.efficientnet_lite import LITE0
from training.weights.own_graph.reading import is_own_graph

DECIDES_OWN = "mos+logit+residual+cosine"
"""For heads on a frozen backbone, which are how people's own folders are fitted: MOS with what it lacks."""
CALIBRATION_PICTURES = 1_000  # that narrow the certified threshold to within half a percent of the TPR
CALIBRATION_SHARES = (0.1, 0.2)  # least and most of a data set
VALIDATION_SHARE = 0.05
PAPER_SHARES = (0.1, 0.02)  # calibration and validation of the paper's recipe
LEAST_SIDE = 160
"""Pixels. Smaller pictures are worth enlarging for a network that learnt from large ones."""
SIZED_PICTURES = 500


def shares(pictures: int, *, paper: bool) -> tuple[float, float]:
    """Shares of each class held out for the threshold and for choices."""
    if paper:
        return PAPER_SHARES
    least, most = CALIBRATION_SHARES
    return min(most, max(least, CALIBRATION_PICTURES / pictures)), VALIDATION_SHARE


def decide_by(name: str, *, paper: bool, on_features: bool) -> str:
    """The statistic that decides: the join for heads alone on features that know the world.

    Those are ImageNet's, and a person's own. MOS where the network itself was fitted, and so learnt what *others* are,
    and on the features of other backbones: on those of the small one that ships it was clearly ahead.
    """
    return DECIDES_OWN if (name == LITE0 or is_own_graph(name)) and on_features and not paper else MOS


def backbone_rate(name: str) -> float:
    """The backbone's learning rate as a share of the heads': one without norms is soon driven out of its range."""
    return 0.002 if name == LITE0 else 1.0


def outliers(*, paper: bool, on_features: bool) -> tuple[str, ...]:
    """Sources of foreign pictures: made ones where they cost no more than a look-up."""
    return (PROCEDURAL,) if on_features and not paper else ()


def side(name: str, data: DataSet) -> int | None:
    """The input side for a backbone that has sides to choose from: the least that is no less than the pictures' own.

    None for a backbone that has none.
    """
    sides = _of(name).sides
    if not sides:
        return None
    rows = np.random.default_rng(0).permutation(len(data))[:SIZED_PICTURES]
    wanted = max(LEAST_SIDE, int(np.median(short_sides(data.select(np.sort(rows))))))
    return next((known for known in sides if known >= wanted), sides[-1])


def sides_divide_by(name: str) -> int:
    """What divides every side that a backbone takes, in pixels."""
    return _of(name).sides_divide_by


def _of(name: str) -> Backbone:
    """A backbone without weights, for what it says of itself."""
    with torch.device("meta"):
        return backbone(name)
