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

from training.cells import read_cells
from training.files import replacing, write_text
from training.studies import Study

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

CellData = dict[str, Any]
COLOURS = {"mos": "#0072B2", "msp": "#7f7f7f", "energy": "#E69F00", "taxonomy": "#0072B2"}
MORE_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#56B4E9")
DOTS_PER_INCH = 120
COMPARED = ("mos", "msp")
PRINTED = ("AUROC", "FPR95")


def write_report(study: Study, folder: Path) -> None:
    """Write results.json, results.md, results.csv and figure.png from the finished cells of a sweep."""
    cells = sorted(read_cells(folder / "cells"), key=lambda cell: _sort_key(study, cell))
    results = {_name(cell): cell for cell in cells}
    sets = list(next(iter(cells[0]["results"].values())))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_table(cells, [*sets, "average"]))
    header, *rows = _table(cells, ["average"], intervals=True)
    lines = ["| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *rows]]
    write_text(folder / "results.json", json.dumps(results, indent=1))
    write_text(folder / "results.csv", text.getvalue())
    write_text(
        folder / "results.md", "\n".join(lines) + f"\n\nPercent, averages over {', '.join(sets)}, 95 % intervals.\n"
    )
    _draw(study, cells, folder / "figure.png")


def _table(cells: list[CellData], sets: list[str], *, intervals: bool = False) -> list[list[str]]:
    """A header, and a row for each cell: what was varied, top-1, and AUROC and FPR95 in percent."""
    detectors = list(cells[0]["results"])
    header = [*cells[0]["varied"], "top-1 group", "top-1 flat"]
    header += [f"{detector} {name} {metric}" for detector in detectors for name in sets for metric in PRINTED]
    rows = [header]
    for cell in cells:
        row = [*map(str, cell["varied"].values()), _percent(cell["top1"]["group"]), _percent(cell["top1"]["flat"])]
        for detector in detectors:
            for name in sets:
                figures = _figures(cell, detector, name)
                row += [_cell(figures, metric, intervals) for metric in ("auroc", "fpr95")]
        rows.append(row)
    return rows


def _figures(cell: CellData, detector: str, name: str) -> dict[str, Any]:
    figures: dict[str, Any] = cell["averages"][detector] if name == "average" else cell["results"][detector][name]
    return figures


def _draw(study: Study, cells: list[CellData], file: Path) -> None:
    """Columns are OOD sets and their average, rows AUROC and FPR95; top-1 stands in a column of its own."""
    sets = [*next(iter(cells[0]["results"].values())), "average"]
    ticks = list(dict.fromkeys(str(value) for value in sorted((cell["varied"][study.x] for cell in cells), key=_order)))
    figure, axes = plt.subplots(
        2, len(sets) + 1, figsize=(3.0 * (len(sets) + 1), 5.6), squeeze=False, layout="constrained"
    )
    for row, metric in enumerate(("auroc", "fpr95")):
        for column, name in enumerate(sets):
            for index, (label, points) in enumerate(_lines(study, cells, metric, name).items()):
                _line(axes[row][column], ticks, points, label, index)
            axes[row][column].set(title=name if row == 0 else "", ylabel="" if column else f"{metric.upper()}, %")
    for row, head in enumerate(("group", "flat")):
        points = defaultdict(list)
        for cell in cells:
            points[str(cell["varied"][study.x])].append(100 * cell["top1"][head])
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


def _lines(study: Study, cells: list[CellData], metric: str, name: str) -> dict[str, dict[str, list[float]]]:
    """{line: {tick: values in percent, one a repeat}}; with series, MOS of each series and MSP once."""
    lines: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for detector in COMPARED:
            label = detector
            if study.series and detector == "mos":
                label = f"mos, {cell['varied'][study.series]}"
            lines[label][str(cell["varied"][study.x])].append(100 * _figures(cell, detector, name)[metric])
    return lines


def _line(axis: Axes, ticks: list[str], points: dict[str, list[float]], label: str, index: int) -> None:
    """Means over repeats with their range; a point where the cell is there."""
    places = [place for place, tick in enumerate(ticks) if tick in points]
    values = [points[ticks[place]] for place in places]
    means = np.array([np.mean(value) for value in values])
    spread = np.abs(np.array([[np.min(value), np.max(value)] for value in values]).T - means)
    colour = COLOURS.get(label.rpartition(", ")[2]) or MORE_COLOURS[index % len(MORE_COLOURS)]
    axis.errorbar(places, means, spread, label=label, color=colour, marker="o", markersize=4, capsize=2)


def _sort_key(study: Study, cell: CellData) -> tuple[str, tuple[float, str], int]:
    series = str(cell["varied"][study.series]) if study.series else ""
    return series, _order(cell["varied"][study.x]), cell["varied"]["seed"]


def _order(value: str | int) -> tuple[float, str]:
    """Numbers by size, then words by the alphabet."""
    return (float(value), "") if str(value).isdecimal() else (float("inf"), str(value))


def _name(cell: CellData) -> str:
    return " ".join(f"{key}={value}" for key, value in cell["varied"].items())


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _cell(figures: dict[str, Any], metric: str, interval: bool) -> str:
    low, high = figures[f"{metric}_interval"]
    return _percent(figures[metric]) + (f" ({100 * low:.1f} to {100 * high:.1f})" if interval else "")
