"""What guards are fitted on and judged by in a study: frozen networks, drawn classes, strangers, and cached features.

Legend: N pictures of a data set, D features, n pictures of the classes that a guard knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.preprocess import JpegScale
from training.bundling.siblings import Pictures
from training.data.outliers import PROCEDURAL_SHARE, Procedural
from training.data.pixels import PictureSource, Pixels, read_picture, short_sides
from training.data.procedural import FAMILIES
from training.data.series import find_series
from training.data.sets import DataSet
from training.data.splits import Split, split
from training.data.survey import survey
from training.fitting.extraction import cached_features
from training.grouping.groups import Grouping
from training.grouping.strategies import DEFAULT_CLUSTERS, by_clustering
from training.model.backbone import Backbone
from training.model.backbones import backbone
from training.studies.group_count import class_means
from training.studies.guards import Features
from training.weights.reading import backbone_name, read_backbone

CALIBRATION, VALIDATION = 0.2, 0.05  # shares of the classes' pictures
KNOWN, UNSEEN, EXPOSED = 30, 10, 40  # classes; what is left of a data set is for development
PROCEDURAL_PICTURES = 200 * len(FAMILIES)
FOREIGN_A_STEP = 64
SIZED_PICTURES = 500


class Classes(NamedTuple):
    """Class indices of a data set, drawn by chance: a guard's own, siblings that it never sees, foreign ones to fit
    with, and foreign ones to be judged by.
    """

    known: NDArray[np.int64]
    unseen: NDArray[np.int64]
    exposed: NDArray[np.int64]
    development: NDArray[np.int64]


@dataclass(frozen=True)
class Frozen:
    """A frozen network at one input side, in pixels, and the folder of its feature caches."""

    extractor: Backbone
    side: int
    folder: Path

    def features(self, called: str, pictures: PictureSource) -> Features:
        """The features (N, D) of some pictures, extracted once."""
        views = cached_features(self.folder / called, self.extractor, pictures, self.side)
        served: Features = views[0]
        return served


@dataclass(frozen=True)
class Scaled:
    """The pictures of a data set as if each had been stored with a short side of at most so many pixels."""

    data: DataSet
    short_side: int

    @property
    def jpeg_scale(self) -> JpegScale:
        """As the guards of these studies were made."""
        return "full"

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: NDArray[np.int64], side: int) -> Pixels:
        """Raises DataError that names a file which cannot be read."""
        files = [self.data.root / self.data.paths[int(row)] for row in rows]
        return np.stack([read_picture(file, height=side, width=side, short_side=self.short_side) for file in files])

    def fingerprint(self) -> dict[str, str | int]:
        """That of the data set, and the size."""
        return self.data.fingerprint() | {"short_side": self.short_side}


@dataclass(frozen=True)
class Own:
    """The pictures of a guard's classes: their rows (n,) in the whole data set, and how they are split."""

    rows: NDArray[np.int64]
    parts: Split

    def pictures(self, features: Features, foreign: Sequence[tuple[Features, int]] = ()) -> Pictures:
        """With a network's features (N, D) of the whole data set; `foreign` (M, D) with their number a step."""
        parts = self.parts
        return Pictures(
            features[self.rows][None],
            parts.whole.labels,
            parts.fitted_rows,
            parts.validation_rows,
            parts.calibration_rows,
            [(rows[None], count) for rows, count in foreign],
        )


def frozen(weights: Path, side: int, folder: Path) -> Frozen:
    """The network of some weights. Its caches are named by the weights, since others may get the same name."""
    extractor = backbone(backbone_name(weights))
    read_backbone(weights, extractor)
    return Frozen(extractor, side, folder / f"{extractor.name}-{side}-{extractor.sha256()[:8]}")


def draw_classes(count: int, seed: int) -> Classes:
    """Draw from `count` classes."""
    order = np.random.default_rng(seed).permutation(count)
    return Classes(*np.split(order, np.cumsum([KNOWN, UNSEEN, EXPOSED])))


def at_most(data: DataSet, each: int) -> DataSet:
    """At most `each` pictures of every class, drawn by chance."""
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(data.labels == label) for label in range(len(data.classes))]
    return data.select(np.sort(np.concatenate([generator.permutation(rows)[:each] for rows in members])))


def own_side(data: DataSet) -> int:
    """The median short side of the pictures, in pixels."""
    rows = np.random.default_rng(0).permutation(len(data))[:SIZED_PICTURES]
    return round(float(np.median(short_sides(data.select(np.sort(rows))))))


def own_pictures(data: DataSet, features: Features, classes: NDArray[np.int64], seed: int) -> Own:
    """The pictures of some classes, split as `train` does: near copies stay on one side."""
    place = np.full(len(data.classes), -1)
    place[classes] = np.arange(len(classes))
    rows = np.flatnonzero(place[data.labels] >= 0)
    names = tuple(data.classes[index] for index in classes)
    chosen = DataSet(data.root, names, data.paths.select(rows), place[data.labels[rows]])
    series = find_series(chosen, survey(chosen).thumbnails, features[rows])
    return Own(rows, split(chosen, calibration=CALIBRATION, validation=VALIDATION, seed=seed, series=series))


def clusters(own: Pictures, seed: int) -> Grouping:
    """The groups that `train` makes where there is no taxonomy."""
    count = int(own.labels.max()) + 1
    fitted = np.array(own.views[0][own.fitted], np.float32)
    means = class_means(fitted, own.labels[own.fitted], count)
    return by_clustering(means, min(DEFAULT_CLUSTERS, count), seed=seed)


def procedural(own: Own, seed: int) -> Procedural:
    """Procedural pictures of every family in turn, some of them made of the pictures that a guard is fitted on."""
    return Procedural(PROCEDURAL_PICTURES, seed, own.parts.fitted)


def foreign_kinds(made: Features, photographs: Features) -> dict[str, list[tuple[Features, int]]]:
    """Each other kind of foreign pictures than all procedural ones, and how many of it stand in a step.

    `made` (M, D) are of procedural pictures of all families in turn.
    """
    few = round(PROCEDURAL_SHARE * FOREIGN_A_STEP)
    family = np.arange(len(made)) % len(FAMILIES)
    return {
        "none": [],
        "photographs": [(photographs, FOREIGN_A_STEP)],
        "both": [(photographs, FOREIGN_A_STEP - few), (made, few)],
        **{f"without {name}": [(made[family != n], FOREIGN_A_STEP)] for n, name in enumerate(FAMILIES)},
        **{f"{name} alone": [(made[family == n], FOREIGN_A_STEP)] for n, name in enumerate(FAMILIES)},
    }
