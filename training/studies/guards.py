"""One guard of a study: heads and what decides, fitted on cached features, and how it tells strangers.

Legend: N pictures, D features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.verdict import accepts
from training.bundling.guarantee import threshold_rank
from training.bundling.siblings import Pictures
from training.decision.statistic import Material, fit_statistic, held_out_of, scores
from training.detectors import DETECTORS, Head, Outputs
from training.evaluation.metrics import TPR, auroc, fpr95
from training.files import write_text
from training.fitting.heads import fit_heads
from training.fitting.recipes import Recipe
from training.grouping.groups import Grouping
from training.model.network import Heads
from training.progress import say

Features = NDArray[np.floating]  # (N, D)
Figures = dict[str, Any]
"""Of a guard, in fractions: {"top1": {head: share}, "statistics": {statistic: {set: {metric: value}}}}."""

BASELINES = ("msp", "energy")  # of the flat head
CONFIDENCE = 0.95


def judge_guard(
    own: Pictures, grouping: Grouping, recipe: Recipe, statistics: Sequence[str], strangers: Mapping[str, Features]
) -> Figures:
    """Fit a guard and judge the strangers, by each statistic, beside the calibration pictures.

    `let_in` is the share of strangers at the threshold that is certified to keep 95 % of one's own.
    """
    heads = fit_heads(own.views, own.fitted, own.labels[own.fitted], grouping, recipe, own.foreign)
    served = own.views[0]
    fitted, held_out = _f32(served[own.fitted]), _f32(served[own.calibration])
    of_moments = held_out_of(_f32(served[own.validation]), held_out, fitted)
    material = Material(fitted, own.labels[own.fitted], of_moments)
    figures: dict[str, dict[str, Any]] = {}
    for name in statistics:
        score = _scorer(name, heads, material, recipe.seed)
        known = score(held_out)
        figures[name] = {called: told_apart(known, score(_f32(rows))) for called, rows in strangers.items()}
    return {"top1": _top1(heads, held_out, own.labels[own.calibration]), "statistics": figures}


def told_apart(known: NDArray[np.float64], foreign: NDArray[np.float64]) -> dict[str, float]:
    """AUROC, FPR95 and the share let in, of scores (n,) and (m,)."""
    threshold = np.sort(known)[threshold_rank(len(known), TPR, CONFIDENCE) - 1]
    let_in = float(np.mean(accepts(foreign, float(threshold))))
    return {"auroc": auroc(known, foreign), "fpr95": fpr95(known, foreign), "let_in": let_in}


def kept(file: Path, make: Callable[[], Figures]) -> Figures:
    """The figures in `file`, made where they are not there yet."""
    if not file.is_file():
        say(f"guarding: {file.stem}")
        write_text(file, json.dumps(make(), indent=1))
    figures: Figures = json.loads(file.read_text("utf-8"))
    return figures


def _scorer(name: str, heads: Heads, material: Material, seed: int) -> Callable[[Features], NDArray[np.float64]]:
    """Features -> scores (N,) by a baseline of the flat head or a statistic of the group head."""
    if name in BASELINES:
        flat = Head(heads.flat.weight.detach().numpy(), heads.flat.bias.detach().numpy())

        def by_baseline(rows: Features) -> NDArray[np.float64]:
            with torch.no_grad():
                _, others = heads.group.probabilities(heads.group(torch.from_numpy(rows)))
            return DETECTORS[name].score(Outputs(rows, others.numpy(), flat.logits(rows), flat), {})

        return by_baseline
    statistic = fit_statistic(name, heads.group, material, seed=seed)

    def by_statistic(rows: Features) -> NDArray[np.float64]:
        found: NDArray[np.float64] = scores(heads.group, statistic, torch.from_numpy(rows)).double().numpy()
        return found

    return by_statistic


def _top1(heads: Heads, rows: Features, labels: NDArray[np.int64]) -> dict[str, float]:
    features = torch.from_numpy(rows)
    with torch.no_grad():
        group = heads.group.probabilities(heads.group(features))[0]
        flat = heads.flat(features)
    return {
        name: float(np.mean(values.argmax(dim=1).numpy() == labels))
        for name, values in (("group", group), ("flat", flat))
    }


def _f32(rows: Features) -> NDArray[np.float32]:
    return np.array(rows, np.float32)
