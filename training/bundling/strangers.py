"""Strangers: foreign pictures that an operating point is judged by, as they are and at the size of one's own.

A sharp photograph is told from small pictures by its sharpness alone, whatever it shows. In use strangers come from the
same camera as one's own pictures, so the honest figure is of strangers scaled down to the size of those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.bundle import Bundle, Strangers, StrangerSet
from training.bundling.thresholds import Scored
from training.data.pixels import short_sides
from training.data.sets import DataSet, read_pictures
from training.scoring.pictures import score_pictures


@dataclass(frozen=True)
class JudgedStrangers:
    """The scores of each set by its name, and what is told of the sets."""

    told: Strangers
    scaled: dict[str, Scored]
    as_is: dict[str, Scored]


def read_strangers(folders: Mapping[str, Path]) -> dict[str, DataSet]:
    """Every picture under each of {name: folder}. Raises DataError for one that holds none."""
    return {name: read_pictures(folder) for name, folder in folders.items()}


def judge_strangers(bundle: Bundle, sets: Mapping[str, DataSet], own: DataSet) -> JudgedStrangers:
    """Score each set twice; the size of one's own pictures is the median short side of `own`."""
    short_side = round(float(np.median(short_sides(own))))
    told, scaled, as_is = {}, {}, {}
    for name, data in sets.items():
        sides = short_sides(data)
        told[name] = StrangerSet(
            data=dict(data.fingerprint()),
            scaled_down=int((sides > short_side).sum()),
            smaller=int((sides < short_side).sum()),
        )
        as_is[name] = _scores(bundle, data, None)
        scaled[name] = _scores(bundle, data, short_side) if told[name].scaled_down else as_is[name]
    return JudgedStrangers(Strangers(short_side_pixels=short_side, sets=told), scaled, as_is)


def _scores(bundle: Bundle, data: DataSet, short_side: int | None) -> Scored:
    outputs = score_pictures(bundle, data, ["score", "class_index"], short_side=short_side)
    return Scored.of(outputs, bundle.manifest.group_of_class)
