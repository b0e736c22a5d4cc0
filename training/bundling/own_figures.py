"""What a finished run can tell of itself before anyone serves it: how well it knows its classes, how many pictures of
unseen classes it would let in, and which of its foreign pictures look like a class.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.bundling.accuracy import accuracy
from training.bundling.own_pictures import MOST_PICTURES, OwnPictures
from training.bundling.siblings import Pictures, siblings
from training.bundling.suspects import sentences, suspects
from training.data.outliers import Outliers, read_outliers
from training.data.splits import Split
from training.fitting.run import FinishedRun
from training.fitting.train import foreign_features, frozen_features
from training.model.network import Network
from training.progress import say


def own_figures(run: FinishedRun, folded: Network, own: OwnPictures, parts: Split) -> dict[str, Any]:
    """The figures for the manifest's `metrics`, each said to the person too.

    Unseen siblings and suspects need cached features, and so a frozen backbone.
    """
    figures: dict[str, Any] = {}
    if found := accuracy(folded, own, run.classes):
        figures["held_out"] = found.as_json()
        for sentence in found.sentences():
            say(sentence)
    if run.config.on_features and len(parts.whole) <= MOST_PICTURES:
        figures |= _of_frozen(run, folded, parts)
    return figures


def _of_frozen(run: FinishedRun, folded: Network, parts: Split) -> dict[str, Any]:
    config, extractor = run.config, run.network.backbone
    views = frozen_features(config, extractor, parts.whole)
    outliers = read_outliers(config.outliers, config.jpeg_scale)
    foreign = foreign_features(config, extractor, outliers, parts.fitted)
    _say_suspects(run, folded, outliers, foreign)
    pictures = Pictures(
        views, parts.whole.labels, parts.fitted_rows, parts.validation_rows, parts.calibration_rows, foreign
    )
    # The heads of a fold are fitted anew as the run's were.
    recipe = replace(config.recipe, compile=False)
    found = siblings(pictures, run.grouping, recipe, config.decide_by)
    if found is None:
        return {}
    say(found.sentence())
    return {"siblings": found.as_json()}


def _say_suspects(
    run: FinishedRun, folded: Network, outliers: Outliers, foreign: list[tuple[NDArray[np.floating], int]]
) -> None:
    if outliers.photographs is None:
        return
    features = np.array(foreign[0][0][0], np.float32)  # photographs come first
    for sentence in sentences(suspects(folded, features, outliers.photographs.paths(), run.classes)):
        say(sentence)
