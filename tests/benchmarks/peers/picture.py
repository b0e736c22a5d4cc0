"""The results as a picture: rates of closed loops above, p99 of open loops below, a column for each scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from tests.benchmarks.peers.journal import Journal
from tests.benchmarks.peers.report import TITLES, Key, load_names, main_form, scenes_of

COLOURS = {"service": "#0b6e4f", "litserve": "#7b4fd1", "bentoml": "#d1495b", "plain": "#8a8a8a"}


def draw(journal: Journal, path: Path) -> None:
    """Write the picture of *journal* to *path*; nothing where nothing was measured."""
    scenes = scenes_of(journal)
    if not scenes:
        return
    has_open_loops = any(row["load"].startswith("open") for row in journal.matching({"kind": "load"}))
    parts = [_closed, _open] if has_open_loops else [_closed]
    size = (4 * len(scenes), 3.5 * len(parts))
    plt.switch_backend("Agg")
    figure, rows = plt.subplots(len(parts), len(scenes), figsize=size, squeeze=False, layout="constrained")
    for draw_one, row in zip(parts, rows, strict=True):
        for scene, axes in zip(scenes, row, strict=True):
            draw_one(journal, scene, axes)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
    handles, labels = rows[0][0].get_legend_handles_labels()
    columns = min(len(labels), 2 * len(scenes))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _closed(journal: Journal, scene: Key, axes: Axes) -> None:
    """Requests a second by the number of clients, and the ceiling."""
    for server, title in TITLES.items():
        key = main_form(journal, scene, server)
        loads = [load for load in load_names(journal, key) if load.startswith("closed")]
        rates = [journal.median(key | {"load": load}, "requests_per_second") or 0 for load in loads]
        if loads:
            axes.plot(_sizes(loads), rates, marker="o", color=COLOURS[server], label=title)
            axes.set_xscale("log", base=2)
            axes.set_xticks(_sizes(loads))
    if ceiling := journal.median({**scene, "kind": "ceiling"}, "requests_per_second"):
        axes.axhline(ceiling, color="black", linestyle="--", label="without HTTP, at best")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set(
        title=f"{scene['bundle']} bundle, {scene['body']}", xlabel="clients", ylabel="requests a second", ylim=(0, None)
    )


def _open(journal: Journal, scene: Key, axes: Axes) -> None:
    """p99 by the rate of arrivals, each server at shares of its own capacity."""
    for server in TITLES:
        key = main_form(journal, scene, server)
        loads = [load for load in load_names(journal, key) if load.startswith("open") and "of" not in load]
        rates = [journal.median(key | {"load": load}, "per_second") or 0 for load in loads]
        p99s_ms = [journal.median(key | {"load": load}, "p99_ms") or 0 for load in loads]
        if loads:
            axes.plot(rates, p99s_ms, marker="o", color=COLOURS[server])
    axes.set(xlabel="Poisson arrivals a second", ylabel="p99, ms", yscale="log", xlim=(0, None))
    axes.yaxis.set_major_formatter(ScalarFormatter())


def _sizes(loads: Sequence[str]) -> list[int]:
    return [int(load.split()[1]) for load in loads]
