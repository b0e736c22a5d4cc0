"""An evaluation as pictures: ROC curves (paper Fig. 11), score histograms, mean *others* scores (Figs. 4, 12, 13)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from training.evaluation.evaluate import Evaluation
from training.evaluation.tables import ordered

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

DOTS_PER_INCH = 120
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's, no yellow
DASHES = ("-", "--", ":")
ACROSS = 4


def draw(evaluation: Evaluation, folder: Path) -> None:
    """Write roc.png, scores.png, others.png and others_by_group.png."""
    for name, figure in {
        "roc": roc(evaluation),
        "scores": histograms(evaluation),
        "others": others(evaluation),
        "others_by_group": others_by_group(evaluation),
    }.items():
        figure.savefig(folder / f"{name}.png", dpi=DOTS_PER_INCH)
        plt.close(figure)


def roc(evaluation: Evaluation) -> Figure:
    """A panel for each OOD set, a curve for each detector; the grey line is a TPR of 95 %."""
    sets = _ood_sets(evaluation)
    figure, axes = _panels(len(sets), width=3.6, height=3.6, right=1.7)
    for axis, name in zip(axes, sets, strict=False):
        for index, detector in enumerate(ordered(evaluation)):
            id_scores, ood_scores = evaluation.scores["id"][detector], evaluation.scores[name][detector]
            labels = np.concatenate([np.ones(len(id_scores)), np.zeros(len(ood_scores))])
            fpr, tpr, _ = roc_curve(labels, np.concatenate([id_scores, ood_scores]))
            axis.plot(fpr, tpr, label=detector, linewidth=1.3, **_style(index))  # type: ignore[arg-type]
        axis.axhline(0.95, color="grey", linewidth=0.8)
        axis.axline((0, 0), (1, 1), color="grey", linewidth=0.8, linestyle=":")
        axis.set(title=name, xlabel="OOD judged in (FPR)", xlim=(0, 1), ylim=(0, 1.01))
    axes[0].set_ylabel("ID judged in (TPR)")
    figure.legend(*axes[0].get_legend_handles_labels(), title="by average AUROC", loc="outside right center")
    return figure


def histograms(evaluation: Evaluation) -> Figure:
    """A panel for each detector: ID filled, each OOD set a line; 1 % at either end is left out, heights are roots."""
    detectors = ordered(evaluation)
    figure, axes = _panels(len(detectors), width=3.1, height=2.3, right=1.6)
    for axis, detector in zip(axes, detectors, strict=False):
        values = np.concatenate([scores[detector] for scores in evaluation.scores.values()])
        low, high = np.quantile(values, [0.01, 0.99])
        bins = np.linspace(low, high if high > low else low + 1, 36)
        axis.stairs(_density(evaluation.scores["id"][detector], bins), bins, fill=True, color="#BBBBBB", label="ID")
        for index, name in enumerate(_ood_sets(evaluation)):
            density = _density(evaluation.scores[name][detector], bins)
            axis.stairs(density, bins, label=name, linewidth=1.4, **_style(index))  # type: ignore[arg-type]
        axis.set_yscale("function", functions=(np.sqrt, np.square))  # or one spike hides all the rest
        axis.set(title=detector, yticks=[], ylim=(0, None))
        axis.locator_params(axis="x", nbins=3)
    figure.supxlabel("score, higher = in-distribution; heights on a square-root scale")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def others(evaluation: Evaluation) -> Figure:
    """Mean *others* score of every group: a panel for the ID set and for each OOD set (paper Figs. 4 and 13).

    Orange marks in the ID panel are the means over the pictures of that group alone, the red boxes of Fig. 12.
    """
    sets = ["id", *_ood_sets(evaluation)]
    count = len(evaluation.groups)
    figure, grid = plt.subplots(
        len(sets),
        1,
        figsize=(max(6.0, 0.42 * count + 2), 1.5 * len(sets) + 1.6),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    figure.set_layout_engine("constrained")
    for axis, name in zip(grid[:, 0], sets, strict=True):
        means = evaluation.scores[name]["others_scores"].mean(axis=0)
        axis.bar(np.arange(count), means, color="#0072B2", label="all pictures")
        axis.set(title=f"{'in-distribution' if name == 'id' else name}: lowest mean {means.min():.2f}", ylim=(0, 1))
        axis.title.set_size("medium")
    own = np.diag(_others_by_group(evaluation))
    grid[0, 0].plot(np.arange(count), own, "o", color="#D55E00", label="pictures of this group")
    grid[0, 0].set_xlim(-0.6, count - 0.4)
    grid[-1, 0].set_xticks(np.arange(count), evaluation.groups, rotation=45, ha="right", rotation_mode="anchor")
    figure.supylabel("mean p(others)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def others_by_group(evaluation: Evaluation) -> Figure:
    """Mean *others* score as a map: pictures of each ID group and each OOD set down, groups across (Figs. 12, 13).

    Boxes mark a group's own pictures.
    """
    sets = _ood_sets(evaluation)
    ood_means = [evaluation.scores[name]["others_scores"].mean(axis=0) for name in sets]
    rows = np.vstack([_others_by_group(evaluation), *ood_means])
    count = len(evaluation.groups)
    figure, axis = plt.subplots(figsize=(0.36 * count + 4.2, 0.3 * len(rows) + 2.4), layout="constrained")
    image = axis.imshow(rows, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for index in range(count):
        axis.add_patch(Rectangle((index - 0.5, index - 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.8))
    axis.axhline(count - 0.5, color="white", linewidth=3)
    axis.set_xticks(np.arange(count), evaluation.groups, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(np.arange(len(rows)), [*evaluation.groups, *(f"OOD: {name}" for name in sets)])
    axis.set(xlabel="others score of group", ylabel="pictures of")
    figure.colorbar(image, label="mean p(others)")
    return figure


def _others_by_group(evaluation: Evaluation) -> NDArray[np.float64]:
    """(K, K): row k is the mean over the ID pictures of group k; NaN where the test set has none."""
    id_values = evaluation.scores["id"]
    owner = np.array(evaluation.group_of_class)[id_values["labels"]]
    count = len(evaluation.groups)
    means = np.full((count, count), np.nan)
    for group in np.unique(owner):
        means[group] = id_values["others_scores"][owner == group].mean(axis=0)
    return means


def _ood_sets(evaluation: Evaluation) -> list[str]:
    return [name for name in evaluation.scores if name != "id"]


def _panels(count: int, *, width: float, height: float, right: float) -> tuple[Figure, Sequence[Axes]]:
    """`count` panels in rows of at most ACROSS, room for a legend at the right; inches."""
    across = min(count, ACROSS)
    down = -(-count // across)
    figure, grid = plt.subplots(
        down, across, figsize=(width * across + right, height * down), layout="constrained", squeeze=False
    )
    axes = list(grid.flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes


def _style(index: int) -> dict[str, str]:
    """Colours first, then dashes, so that no two of 21 lines look alike."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index // len(COLOURS) % len(DASHES)]}


def _density(scores: NDArray[np.floating], bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the scores in each bin, by its width."""
    counts, _ = np.histogram(scores, bins)
    density: NDArray[np.float64] = counts / len(scores) / np.diff(bins)
    return density
