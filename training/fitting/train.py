"""From labelled pictures to the weights of a finished run: split, group, fit.

`RunConfig` goes no further than this file: each part below it is given what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.doubts import closeness, doubts
from training.data.outliers import PROCEDURAL, Outliers, Procedural, read_outliers, refuse_shared
from training.data.pixels import PictureSource
from training.data.series import by_features, by_thumbnails, find_series
from training.data.sets import DataSet
from training.data.splits import Split
from training.distributed import one_thread, rank
from training.errors import GroupingError
from training.fitting.batches import feature_batches, picture_batches
from training.fitting.extraction import Views, cached_features, class_means, extract, extract_all
from training.fitting.feature_cache import CHUNK
from training.fitting.loop import fit
from training.fitting.run import RunConfig, close_run, open_run
from training.fitting.teacher import read_teacher
from training.grouping.groups import Grouping, warnings
from training.grouping.strategies import grouping_of
from training.model.backbone import FeatureExtractor
from training.model.network import Heads, Network
from training.progress import say
from training.weights.extractors import read_extractor

MOST_PROCEDURAL = 1_000_000  # that a run on pictures can meet; each is made when it is asked for
PROCEDURAL_FEATURES = 4_000  # that are made and run through a frozen backbone once


def train(
    config: RunConfig,
    whole: DataSet,
    thumbnails: NDArray[np.uint8] | None = None,
    *,
    calibration_needs: int = 0,
    workers: int | None = None,
) -> None:
    """Fit a network as `config` says into the folder `config.out`, resuming an interrupted run there.

    `whole` is `config.read()`. With grey `thumbnails` (N, H, W) of it, series of pictures stay together; without,
    pictures are held out one by one. A threshold needs `calibration_needs` pictures: fewer are warned of. `workers`
    are processes that read pictures, by default one for each usable core.
    """
    torch.manual_seed(config.recipe.seed)
    outliers = read_outliers(config.outliers, config.jpeg_scale)
    if rank() == 0:
        refuse_shared(outliers, whole)
    extractor = starting_backbone(config)
    features = frozen_features(config, extractor, whole, workers) if config.on_features else None
    served = None if features is None else features[0]
    series = None if thumbnails is None else find_series(whole, thumbnails, served, config.group_by)
    parts = config.split(whole, series)
    grouping = _grouping(config, extractor, parts, features, workers)
    network = Network(extractor, grouping, zero_heads=config.settings.head_start != "paper")
    if rank() == 0:
        if features is not None and config.views > 1:
            say(
                f"approximate: {config.views} views stand for the augmentation and pictures are not mixed; see --online"
            )
        needed = calibration_needs if config.calibration else 0
        doubtful = doubts(parts, _closeness(parts, thumbnails, served), needed)
        _announce(config.backbone, grouping, parts, doubtful)
        open_run(config, grouping, parts, outliers.fingerprints())
    if features is None:
        fitted = _fit_network(config, network, parts, outliers, workers)
    else:
        foreign = foreign_features(config, extractor, outliers, parts.fitted, workers)
        fitted = _fit_heads(config, network, parts, features, foreign)
    if rank() == 0:
        close_run(config.out, fitted)


def starting_backbone(config: RunConfig) -> FeatureExtractor:
    """The backbone that a run starts with, the blocks that it fits open. Raises SettingError for more than it has."""
    extractor = read_extractor(config.backbone, config.weights, config.graph, config.size)
    extractor.open(config.open_blocks)
    return extractor


def frozen_features(
    config: RunConfig, extractor: FeatureExtractor, data: DataSet, workers: int | None = None
) -> NDArray[np.floating]:
    """All views of all pictures, (V, N, D): the backbone runs once over each instead of once an epoch."""
    return cached_features(
        config.features or config.out / "features",
        extractor,
        config.pictures(data),
        config.size,
        Views(config.views, config.load_size, config.recipe.augmentation, config.recipe.seed),
        bf16=config.recipe.bf16,
        half=config.half_features,
        workers=workers,
    )


def _grouping(
    config: RunConfig,
    extractor: FeatureExtractor,
    parts: Split,
    features: NDArray[np.floating] | None,
    workers: int | None,
) -> Grouping:
    def means() -> NDArray[np.float32]:
        """Mean feature of each class (C, D) from the backbone that the run starts with, over the fitted pictures."""
        if config.weights is None:
            raise GroupingError("Clusters need features of a trained backbone; name --weights or another --grouping.")
        if features is None:
            fitted = config.pictures(parts.fitted)
            chunks = extract(extractor, fitted, config.size, bf16=config.recipe.bf16, workers=workers)
        else:
            rows = np.array_split(parts.fitted_rows, max(1, len(parts.fitted_rows) // CHUNK))
            chunks = (torch.from_numpy(features[0, some]) for some in rows)
        return class_means(chunks, parts.fitted.labels, len(parts.whole.classes))

    return grouping_of(
        config.grouping,
        parts.whole.classes,
        parts.whole.superclasses,
        means,
        seed=config.recipe.seed,
        equal_sizes=config.settings.random_groups != "paper",
    )


def _closeness(parts: Split, thumbnails: NDArray[np.uint8] | None, features: NDArray[np.floating] | None) -> float:
    """By what tells most of the pictures; 0 where nothing is known of them."""
    if features is not None:
        return closeness(parts, by_features(features))
    return 0.0 if thumbnails is None else closeness(parts, by_thumbnails(thumbnails))


def _announce(name: str, grouping: Grouping, parts: Split, doubtful: Sequence[str]) -> None:
    counts = f"{len(parts.fitted)} pictures to fit, {len(parts.calibration)} to calibrate"
    say(f"{counts}, {len(parts.validation)} to validate")
    say(f"{name}, {grouping.class_count} classes in {len(grouping.names)} groups")
    for warning in (*warnings(grouping), *doubtful):
        say(f"warning: {warning}")


def foreign_features(
    config: RunConfig, extractor: FeatureExtractor, outliers: Outliers, fitted: DataSet, workers: int | None = None
) -> list[tuple[NDArray[np.floating], int]]:
    """Features of the foreign pictures of a run on a frozen backbone, (1, M, D), and how many stand in a batch.

    Each kind has a cache of its own in the run's folder.
    """
    procedural = _procedural(config, PROCEDURAL_FEATURES, fitted)
    return [
        (_foreign_cache(config, extractor, source, workers), size)
        for source, size in outliers.kinds(config.recipe.outliers_a_step, procedural)
    ]


def _procedural(config: RunConfig, count: int, fitted: DataSet) -> Procedural:
    return Procedural(count, config.recipe.seed, fitted, jpeg_scale=config.jpeg_scale)


def _foreign_cache(
    config: RunConfig, extractor: FeatureExtractor, source: PictureSource, workers: int | None
) -> NDArray[np.floating]:
    kind = PROCEDURAL if isinstance(source, Procedural) else "photographs"
    return cached_features(
        config.out / "outliers" / kind,
        extractor,
        source,
        config.size,
        bf16=config.recipe.bf16,
        half=config.half_features,
        workers=workers,
    )


def _fit_network(config: RunConfig, network: Network, parts: Split, outliers: Outliers, workers: int | None) -> Network:
    """On pictures: exact, whatever the recipe does to them."""
    recipe, held_out = config.recipe, config.pictures(parts.validation)

    def report(network: Network) -> str:
        features = extract_all(network.backbone, held_out, config.size, bf16=recipe.bf16, workers=workers)
        return _accuracy(network, features, parts.validation.labels)

    batches = picture_batches(
        config.pictures(parts.fitted),
        config.load_size,
        config.size,
        recipe,
        outliers.kinds(recipe.outliers_a_step, _procedural(config, MOST_PROCEDURAL, parts.fitted)),
        workers=workers,
    )
    teacher = None if config.teacher is None else read_teacher(config.teacher, parts.whole.classes)
    return fit(network, batches, recipe, config.out, report, teacher=teacher)


def _fit_heads(
    config: RunConfig,
    network: Network,
    parts: Split,
    features: NDArray[np.floating],
    foreign: Sequence[tuple[NDArray[np.floating], int]],
) -> Network:
    """On cached features."""
    served = torch.from_numpy(features[0, parts.validation_rows].astype(np.float32))
    report: Callable[[Heads], str] = partial(_accuracy, features=served, labels=parts.validation.labels)
    batches = feature_batches(features, parts.fitted_rows, parts.fitted.labels, config.recipe, foreign)
    with one_thread():
        return fit(network, batches, config.recipe, config.out, report, on_features=True)


def _accuracy(network: Heads, features: Tensor, labels: NDArray[np.int64]) -> str:
    """A line on both heads' top-1 over the pictures held out for choices."""
    if not len(labels):
        return ""
    device = network.flat.weight.device
    features, target = features.to(device), torch.from_numpy(labels).to(device)
    with torch.no_grad():
        flat = network.flat(features).argmax(dim=1)
        group = network.group.probabilities(network.group(features))[0].argmax(dim=1)
    return f"validation top-1: flat {_mean(flat == target):.3f}, group {_mean(group == target):.3f}"


def _mean(right: Tensor) -> float:
    return float(right.float().mean())
