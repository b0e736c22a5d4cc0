"""An evaluation as people read it: a table in Markdown and CSV, ROC curves, score histograms, mean *others* scores."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.metrics import roc_curve

from training.evaluate import Evaluation

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def tables(evaluation: Evaluation) -> dict[str, str]:
    """File name -> text: detectors by OOD sets, AUROC and FPR95 in percent, with the average over the sets last."""
    sets = list(next(iter(evaluation.results.values())))
    header = ["detector", *(f"{name} {metric}" for name in [*sets, "average"] for metric in ("AUROC", "FPR95"))]
    rows = []
    for detector, by_set in evaluation.results.items():
        figures = [(100 * float(by_set[name]["auroc"]), 100 * float(by_set[name]["fpr95"])) for name in sets]
        figures.append(tuple(np.mean(figures, axis=0)))
        rows.append([detector, *(f"{value:.2f}" for pair in figures for value in pair)])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]
    return {"results.csv": text.getvalue(), "results.md": "\n".join(lines) + "\n"}


def draw(evaluation: Evaluation, out: Path) -> None:
    """Write roc.png, scores.png and others.png."""
    _roc(evaluation, out / "roc.png")
    _histograms(evaluation, out / "scores.png")
    _others(evaluation, out / "others.png")


def _roc(evaluation: Evaluation, file: Path) -> None:
    sets = [name for name in evaluation.scores if name != "id"]
    figure, axes = plt.subplots(1, len(sets), figsize=(4.2 * len(sets), 4), squeeze=False, sharey=True)
    for axis, name in zip(axes[0], sets, strict=True):
        for detector, by_set in evaluation.results.items():
            inside, outside = evaluation.scores["id"][detector], evaluation.scores[name][detector]
            labels = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
            fpr, tpr, _ = roc_curve(labels, np.concatenate([inside, outside]))
            axis.plot(fpr, tpr, label=f"{detector}  {100 * float(by_set[name]['auroc']):.1f}")
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        axis.axhline(0.95, color="grey", linewidth=0.8)
        axis.set(title=name, xlabel="OOD judged in (FPR)")
        axis.legend(title="AUROC, %", loc="lower right")
    axes[0][0].set_ylabel("ID judged in (TPR)")
    _save(figure, file)


def _histograms(evaluation: Evaluation, file: Path) -> None:
    detectors = list(evaluation.results)
    figure, axes = plt.subplots(1, len(detectors), figsize=(4.2 * len(detectors), 3.6), squeeze=False)
    for axis, detector in zip(axes[0], detectors, strict=True):
        values = np.concatenate([scores[detector] for scores in evaluation.scores.values()])
        bins = np.linspace(values.min(), values.max(), 60)
        for name, scores in evaluation.scores.items():
            axis.hist(scores[detector], bins=bins.tolist(), density=True, histtype="step", label=name, linewidth=1.4)
        axis.set(title=detector, xlabel="score, higher = in-distribution", yticks=[])
        axis.legend()
    _save(figure, file)


def _others(evaluation: Evaluation, file: Path) -> None:
    figure, axis = plt.subplots(figsize=(max(6.0, 0.5 * len(evaluation.groups)), 4.8))
    width = 0.8 / len(evaluation.scores)
    for offset, (name, scores) in enumerate(evaluation.scores.items()):
        means = scores["others_scores"].mean(axis=0)
        axis.bar(np.arange(len(means)) + offset * width, means, width, label=name, align="edge")
    axis.set(ylabel="mean p(others)", title="Mean others score of each group")
    axis.set_xticks(np.arange(len(evaluation.groups)) + 0.4, evaluation.groups, rotation=45, ha="right")
    axis.legend(ncols=len(evaluation.scores), loc="upper center", bbox_to_anchor=(0.5, -0.55))
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, dpi=DOTS_PER_INCH)
    plt.close(figure)
