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
    plt.switch_backend("Agg")
    figure, axes = plt.subplots(2, len(scenes), figsize=(4 * len(scenes), 7), squeeze=False, layout="constrained")
    for scene, (above, below) in zip(scenes, axes.T, strict=True):
        _closed(journal, scene, above)
        _open(journal, scene, below)
    axes[0][0].set_ylabel("requests a second")
    axes[1][0].set_ylabel("p99, ms")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
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
    axes.set(title=f"{scene['bundle']} bundle, {scene['body']}", xlabel="clients", ylim=(0, None))
    _tidy(axes)


def _open(journal: Journal, scene: Key, axes: Axes) -> None:
    """p99 by the rate of arrivals, each server at shares of its own capacity."""
    for server in TITLES:
        key = main_form(journal, scene, server)
        loads = [load for load in load_names(journal, key) if load.startswith("open") and "of" not in load]
        rates = [journal.median(key | {"load": load}, "per_second") or 0 for load in loads]
        p99s_ms = [journal.median(key | {"load": load}, "p99_ms") or 0 for load in loads]
        if loads:
            axes.plot(rates, p99s_ms, marker="o", color=COLOURS[server])
    axes.set_visible(bool(axes.lines))
    axes.set(xlabel="Poisson arrivals a second", yscale="log", xlim=(0, None))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    _tidy(axes)


def _sizes(loads: Sequence[str]) -> list[int]:
    return [int(load.split()[1]) for load in loads]


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
