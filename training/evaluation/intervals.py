"""95 % intervals of the metrics, for one OOD set and for the average over several.

AUROC and AUPR: percentiles of a stratified bootstrap. ID and OOD pictures are drawn anew, each from their own; all
sets meet the same ID draw, because they share the ID pictures, and so does the average over them.

FPR95: both sides of it are uncertain. How many ID scores lie below the true 95 % threshold is Bin(n_in, 5 %), which
says between which two neighbouring ID scores that threshold lies; a draw takes one of the two. Given it, the share of
OOD above has Jeffreys' Beta distribution. The plain bootstrap is as wide in the middle and far too narrow near 0.

Resampling knows nothing of pictures unlike those it has, least where it cannot move a figure at all (perfect
separation, all scores tied, a single picture). So an interval is never narrower than what one kind of picture, unseen
in min(n_in, n_out) independent ones, could do to the figure: down towards `floor`, up towards 1, by a share of
1 - 0.025^(1/min). For a perfect AUROC the lower limit is 0.025^(1/min), Clopper and Pearson's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.evaluation.metrics import METRICS, TPR, Convention, Scores, summary

REPLICATES = 1000
TAIL = 0.025

Draws = NDArray[np.float64]
"""(REPLICATES,) values that a figure could as well have had."""
Counts = NDArray[np.int64]
Figures = dict[str, float | int | list[float]]
"""metrics.summary's, and `METRIC_interval`: [low, high] for each of METRICS."""


def compare(
    id_scores: Scores, ood_sets: Mapping[str, Scores], averaged: Sequence[str], convention: Convention, seed: int
) -> tuple[dict[str, Figures], Figures]:
    """Figures of one detector on each OOD set, and their averages over the sets named in `averaged`."""
    drawn = draws(id_scores, ood_sets, seed)
    plain = {name: summary(id_scores, ood_scores, convention) for name, ood_scores in ood_sets.items()}
    pictures = {name: min(len(id_scores), len(ood_scores)) for name, ood_scores in ood_sets.items()}
    floors = {name: _floors(len(id_scores), len(ood_scores)) for name, ood_scores in ood_sets.items()}
    sets: dict[str, Figures] = {name: dict(figures) for name, figures in plain.items()}
    average: Figures = {}
    for metric in METRICS:
        for name, figures in sets.items():
            limits = interval(drawn[name][metric], plain[name][metric], pictures[name], floors[name][metric])
            figures[f"{metric}_interval"] = list(limits)
        mean = float(np.mean([plain[name][metric] for name in averaged]))
        mean_draws = np.mean([drawn[name][metric] for name in averaged], axis=0)
        floor = float(np.mean([floors[name][metric] for name in averaged]))
        average[metric] = mean
        limits = interval(mean_draws, mean, min(pictures[name] for name in averaged), floor)
        average[f"{metric}_interval"] = list(limits)
    return sets, average


def draws(id_scores: Scores, ood_sets: Mapping[str, Scores], seed: int) -> dict[str, dict[str, Draws]]:
    """{OOD set: {metric: draws}} of one detector. The same seed draws the same pictures for every detector."""
    bootstrap_seed, fpr95_seed = np.random.SeedSequence(seed).spawn(2)
    names, scores = list(ood_sets), list(ood_sets.values())
    by_set = zip(_bootstrap(id_scores, scores, bootstrap_seed), _fpr95(id_scores, scores, fpr95_seed), strict=True)
    return {name: {**areas, "fpr95": fpr95} for name, (areas, fpr95) in zip(names, by_set, strict=True)}


def interval(drawn: Draws, value: float, pictures: int, floor: float) -> tuple[float, float]:
    """The 95 % interval around a figure, of which `drawn` are draws; `pictures` is min(n_in, n_out).

    `floor` is what the figure falls to where nothing is told any more: the base rate for AUPR, else 0.
    """
    low, high = (float(limit) for limit in np.quantile(drawn, [TAIL, 1 - TAIL]))
    unseen = 1 - TAIL ** (1 / pictures)
    return min(low, value, value - (value - floor) * unseen), max(high, value + (1 - value) * unseen)


def _floors(n_in: int, n_out: int) -> dict[str, float]:
    share = n_in / (n_in + n_out)
    return {"auroc": 0.0, "fpr95": 0.0, "aupr_in": share, "aupr_out": 1 - share}


def _bootstrap(id_scores: Scores, ood_sets: list[Scores], seed: np.random.SeedSequence) -> list[dict[str, Draws]]:
    """Draws of the three areas for each OOD set."""
    id_generator, *generators = (np.random.default_rng(child) for child in seed.spawn(1 + len(ood_sets)))
    ranked = list(zip(generators, (_ranks(id_scores, ood_scores) for ood_scores in ood_sets), strict=True))
    areas = np.empty((len(ood_sets), REPLICATES, 3))
    for replicate in range(REPLICATES):
        picked = id_generator.integers(0, len(id_scores), len(id_scores))
        for index, (generator, (id_ranks, ood_ranks, levels)) in enumerate(ranked):
            again = generator.integers(0, len(ood_ranks), len(ood_ranks))
            positives = np.bincount(id_ranks[picked], minlength=levels)
            negatives = np.bincount(ood_ranks[again], minlength=levels)
            areas[index, replicate] = _areas(positives, negatives)
    return [dict(zip(("auroc", "aupr_in", "aupr_out"), rows.T, strict=True)) for rows in areas]


def _ranks(id_scores: Scores, ood_scores: Scores) -> tuple[Counts, Counts, int]:
    """The level of each score among the L distinct ones, 0 = the highest: (n_in,), (n_out,), L."""
    levels, ranks = np.unique(-np.concatenate([id_scores, ood_scores]), return_inverse=True)
    return ranks[: len(id_scores)], ranks[len(id_scores) :], len(levels)


def _areas(positives: Counts, negatives: Counts) -> tuple[float, float, float]:
    """AUROC, AUPR-in and AUPR-out of the numbers of ID and OOD pictures at each distinct score, the highest first."""
    id_above, ood_above = positives.cumsum(), negatives.cumsum()  # ID and OOD at or above each score
    id_below, ood_below = id_above[-1] - id_above + positives, ood_above[-1] - ood_above + negatives  # at or below it
    auroc = (negatives * (2 * id_above - positives)).sum() / (2 * id_above[-1] * ood_above[-1])
    # A level that this draw left out has no picture, and may have none above it: 0 / 1 then.
    aupr_in = (positives * (id_above / np.maximum(id_above + ood_above, 1))).sum() / id_above[-1]
    aupr_out = (negatives * (ood_below / np.maximum(ood_below + id_below, 1))).sum() / ood_above[-1]
    return float(auroc), float(aupr_in), float(aupr_out)


def _fpr95(id_scores: Scores, ood_sets: list[Scores], seed: np.random.SeedSequence) -> list[Draws]:
    """Draws of FPR95 for each OOD set, the ID scores below the true threshold drawn once for all."""
    id_generator, *generators = (np.random.default_rng(child) for child in seed.spawn(1 + len(ood_sets)))
    below = id_generator.binomial(len(id_scores), 1 - TPR, REPLICATES)
    edges = np.concatenate([[-np.inf], np.sort(id_scores), [np.inf]])
    thresholds = edges[below + id_generator.integers(0, 2, REPLICATES)]
    drawn = []
    for ood_scores, generator in zip(ood_sets, generators, strict=True):
        accepted = len(ood_scores) - np.searchsorted(np.sort(ood_scores), thresholds, side="left")
        drawn.append(generator.beta(accepted + 0.5, len(ood_scores) - accepted + 0.5))
    return drawn
