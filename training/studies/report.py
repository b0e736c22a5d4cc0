"""A study as people read it: a table (Markdown, CSV), results.json, and a picture of AUROC, FPR95 and top-1."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from training.files import replacing, write_text
from training.studies.designs import Study
from training.studies.trials import read_trials

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

TrialData = dict[str, Any]
COLOURS = {"mos": "#0072B2", "msp": "#7f7f7f", "energy": "#E69F00", "taxonomy": "#0072B2"}
MORE_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#56B4E9")
DOTS_PER_INCH = 120
COMPARED = ("mos", "msp")
PRINTED = ("AUROC", "FPR95")


def write_report(study: Study, folder: Path) -> None:
    """Write results.json, results.md, results.csv and figure.png from the finished trials of a sweep."""
    trials = sorted(read_trials(folder / "trials"), key=lambda trial: _sort_key(study, trial))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_every_trial(trials))
    write_text(folder / "results.json", json.dumps({_name(trial): trial for trial in trials}, indent=1))
    write_text(folder / "results.csv", text.getvalue())
    write_text(folder / "results.md", _summary(trials))
    _draw(study, trials, folder / "figure.png")


def _every_trial(trials: list[TrialData]) -> list[list[str]]:
    """A header, and a row for each trial: what was varied, top-1, and AUROC and FPR95 in percent."""
    detectors = list(trials[0]["results"])
    columns = [(detector, name) for detector in detectors for name in _sets(trials)]
    rows = [[*trials[0]["varied"], "top-1 group", "top-1 flat"]]
    rows[0] += [f"{detector} {name} {metric}" for detector, name in columns for metric in PRINTED]
    for trial in trials:
        row = [*map(str, trial["varied"].values()), *(_percent(trial["top1"][head]) for head in ("group", "flat"))]
        for column in columns:
            row += [_percent(_figures(trial, *column)[metric]) for metric in ("auroc", "fpr95")]
        rows.append(row)
    return rows


def _summary(trials: list[TrialData]) -> str:
    """A row for each setting, averages over the OOD sets; of several seeds the mean and the range."""
    repeats: dict[tuple[str, ...], list[TrialData]] = defaultdict(list)
    names = [name for name in trials[0]["varied"] if name != "seed"]
    for trial in trials:
        repeats[tuple(str(trial["varied"][name]) for name in names)].append(trial)
    detectors = list(trials[0]["results"])
    rows = [[*names, "top-1 group", "top-1 flat"]]
    rows[0] += [f"{detector} {metric}" for detector in detectors for metric in PRINTED]
    rows.append(["---"] * len(rows[0]))
    for setting, same in repeats.items():
        row = [
            *setting,
            *(_percent(float(np.mean([trial["top1"][head] for trial in same]))) for head in ("group", "flat")),
        ]
        for detector in detectors:
            figures = [trial["averages"][detector] for trial in same]
            row += [_mean_and_range(figures, metric) for metric in ("auroc", "fpr95")]
        rows.append(row)
    seeds = max(map(len, repeats.values()))
    note = "with 95 % intervals" if seeds == 1 else f"with 95 % intervals, or the range over {seeds} seeds"
    over = ", ".join(name for name in _sets(trials) if name != "average")
    return "\n".join(
        [*("| " + " | ".join(row) + " |" for row in rows), "", f"Percent, averages over {over}, {note}.", ""]
    )


def _sets(trials: list[TrialData]) -> list[str]:
    return [*next(iter(trials[0]["results"].values())), "average"]


def _mean_and_range(figures: list[dict[str, Any]], metric: str) -> str:
    """The mean of repeats and where they lie; of a single one its interval."""
    values = figures[0][f"{metric}_interval"] if len(figures) == 1 else [figure[metric] for figure in figures]
    mean = float(np.mean([figure[metric] for figure in figures]))
    return f"{_percent(mean)} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def _figures(trial: TrialData, detector: str, name: str) -> dict[str, Any]:
    figures: dict[str, Any] = trial["averages"][detector] if name == "average" else trial["results"][detector][name]
    return figures


def _draw(study: Study, trials: list[TrialData], file: Path) -> None:
    """Columns are OOD sets and their average, rows AUROC and FPR95; top-1 stands in a column of its own."""
    sets = _sets(trials)
    ticks = list(
        dict.fromkeys(str(value) for value in sorted((trial["varied"][study.x] for trial in trials), key=_order))
    )
    figure, axes = plt.subplots(
        2, len(sets) + 1, figsize=(3.0 * (len(sets) + 1), 5.6), squeeze=False, layout="constrained"
    )
    for row, metric in enumerate(("auroc", "fpr95")):
        for column, name in enumerate(sets):
            for index, (label, points) in enumerate(_lines(study, trials, metric, name).items()):
                _line(axes[row][column], ticks, points, label, index)
            axes[row][column].set(title=name if row == 0 else "", ylabel="" if column else f"{metric.upper()}, %")
    for row, head in enumerate(("group", "flat")):
        points = defaultdict(list)
        for trial in trials:
            points[str(trial["varied"][study.x])].append(100 * trial["top1"][head])
        _line(axes[row][-1], ticks, points, "", 0)
        axes[row][-1].set(title=f"top-1, {head} softmax, %")
    for axis in axes.flat:
        axis.set_xticks(range(len(ticks)), ticks, rotation=30 if max(map(len, ticks)) > 4 else 0)
        axis.grid(axis="y", linewidth=0.4)
    for axis in axes[1]:
        axis.set_xlabel(study.x)
    figure.suptitle(study.title)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    with replacing(file) as draft:
        figure.savefig(draft, dpi=DOTS_PER_INCH)
    plt.close(figure)


def _lines(study: Study, trials: list[TrialData], metric: str, name: str) -> dict[str, dict[str, list[float]]]:
    """{line: {tick: values in percent, one a repeat}}; with series, MOS of each series and MSP once."""
    lines: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        for detector in COMPARED:
            label = detector
            if study.series and detector == "mos":
                label = f"mos, {trial['varied'][study.series]}"
            lines[label][str(trial["varied"][study.x])].append(100 * _figures(trial, detector, name)[metric])
    return lines


def _line(axis: Axes, ticks: list[str], points: dict[str, list[float]], label: str, index: int) -> None:
    """Means over repeats with their range; a point where the trial is there."""
    places = [place for place, tick in enumerate(ticks) if tick in points]
    values = [points[ticks[place]] for place in places]
    means = np.array([np.mean(value) for value in values])
    spread = np.abs(np.array([[np.min(value), np.max(value)] for value in values]).T - means)
    colour = COLOURS.get(label.rpartition(", ")[2]) or MORE_COLOURS[index % len(MORE_COLOURS)]
    axis.errorbar(places, means, spread, label=label, color=colour, marker="o", markersize=4, capsize=2)


def _sort_key(study: Study, trial: TrialData) -> tuple[str, tuple[float, str], int]:
    series = str(trial["varied"][study.series]) if study.series else ""
    return series, _order(trial["varied"][study.x]), trial["varied"]["seed"]


def _order(value: str | int) -> tuple[float, str]:
    """Numbers by size, then words by the alphabet."""
    return (float(value), "") if str(value).isdecimal() else (float("inf"), str(value))


def _name(trial: TrialData) -> str:
    return " ".join(f"{key}={value}" for key, value in trial["varied"].items())


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
