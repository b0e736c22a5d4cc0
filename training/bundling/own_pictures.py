"""What a finished network says of its run's own pictures, which detectors and the deciding statistic are fitted to.

Nothing here looks at a foreign picture or at a test set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.sets import DataSet
from training.data.splits import Split
from training.detectors import Head, Outputs
from training.fitting.extraction import extract_all
from training.fitting.run import FinishedRun
from training.fitting.train import frozen_features
from training.model.network import Network

MOST_PICTURES = 50_000


@dataclass(frozen=True)
class Sample:
    """Some pictures of one part of a split, and their features as the served graph computes them."""

    data: DataSet
    features: NDArray[np.float32]  # (N, D)


@dataclass(frozen=True)
class OwnPictures:
    """A sample of each part of a run's split; one that is empty has no pictures."""

    fitted: Sample
    calibration: Sample
    validation: Sample


def own_pictures(run: FinishedRun, folded: Network, parts: Split) -> OwnPictures:
    """Features of the run's pictures: from its cache where the backbone was frozen, else by the folded backbone."""
    config, seed = run.config, run.config.recipe.seed
    cached = frozen_features(config, run.network.backbone, parts.whole)[0] if config.on_features else None

    def sample(rows: NDArray[np.int64]) -> Sample:
        if len(rows) > MOST_PICTURES:
            rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_PICTURES, replace=False))
        data = parts.whole.select(rows)
        if cached is not None:
            return Sample(data, np.array(cached[rows], np.float32))
        return Sample(data, extract_all(folded.backbone, config.pictures(data), config.size).numpy())

    return OwnPictures(sample(parts.fitted_rows), sample(parts.calibration_rows), sample(parts.validation_rows))


def outputs(network: Network, head: Head, features: NDArray[np.float32]) -> Outputs:
    """What detectors read, of features (N, D)."""
    with torch.no_grad():
        _, others = network.group.probabilities(network.group(torch.from_numpy(features)))
    return Outputs(features, others.numpy(), head.logits(features), head)
