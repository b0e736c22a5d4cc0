"""The card's picture: where the scores of one's own and of foreign pictures lie, and the thresholds between them.

Needs matplotlib, which the service's image does not have.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from service.bundle import Calibration, Manifest
from service.verdict import accepts
from training.bundling.thresholds import Scored

Scores = NDArray[np.float64]

DOTS_PER_INCH = 120
BINS = 45
OWN, FOREIGN, TURNED_AWAY = "#0072B2", "#D55E00", "#C4C4C4"  # blue and orange of Okabe and Ito's, apart in grey too
LEFT_OUT = 0.005  # of all scores, at either end
LABEL_GAP = 0.1  # of the panel's width, between the labels of two thresholds


def draw(manifest: Manifest, calibration: Calibration, own: Scored, strangers: Mapping[str, Scored]) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    figure(manifest, calibration, own, strangers).savefig(buffer, dpi=DOTS_PER_INCH, format="png")
    return buffer.getvalue()


def figure(manifest: Manifest, calibration: Calibration, own: Scored, strangers: Mapping[str, Scored]) -> Figure:
    """A panel for one's own scores and for each foreign set; what the chosen thresholds accept is in colour."""
    panels = [("your own", own), *strangers.items()]
    drawn = Figure(figsize=(8.5, 1.0 * len(panels) + 1.5), layout="constrained")
    axes: list[Axes] = list(drawn.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
    thresholds = {point.tpr: point.threshold for point in calibration.operating_points}
    of_group = np.array(calibration.thresholds([group.name for group in manifest.groups]))
    whole = np.concatenate([scored.scores for _, scored in panels])
    bins = _bins(whole, calibration.threshold, list(thresholds.values()))
    for axis, (name, scored) in zip(axes, panels, strict=True):
        scores, accepted = scored.scores, accepts(scored.scores, of_group[scored.groups])
        _fill(axis, scores, ~accepted, bins, TURNED_AWAY)
        _fill(axis, scores, accepted, bins, OWN if axis is axes[0] else FOREIGN)
        for tpr, threshold in thresholds.items():
            axis.axvline(threshold, color="black", **_line(tpr == calibration.tpr))  # type: ignore[arg-type]
        axis.set_yscale("function", functions=(np.sqrt, np.square))  # or one spike hides all the rest
        axis.set(yticks=[], ylim=(0, None), xlim=(bins[0], bins[-1]))
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        share = f"{100 * accepted.mean():.1f} %\n{'accepted' if axis is axes[0] else 'let in'}"
        axis.text(1.01, 0.5, share, transform=axis.transAxes, va="center")
    _label(axes[0], thresholds, calibration.tpr)
    axes[-1].set_xlabel(
        "score, higher = in-distribution; grey is turned away; heights on a square-root scale\n"
        "foreign pictures no larger than your own"
    )
    return drawn


def _bins(scores: Scores, threshold: float, others: Sequence[float]) -> Scores:
    """Edges that hold all thresholds, the chosen one an edge itself, so that no bar lies on both of its sides."""
    low, high = np.quantile(scores, [LEFT_OUT, 1 - LEFT_OUT])
    low, high = min(low, *others, threshold), max(high, *others, threshold)
    margin = (high - low) / BINS or 1.0
    return np.unique(np.append(np.linspace(low - margin, high + margin, BINS), threshold))


def _fill(axis: Axes, scores: Scores, which: NDArray[np.bool_], bins: Scores, colour: str) -> None:
    counts, _ = np.histogram(scores[which], bins)
    axis.stairs(counts / len(scores) / np.diff(bins), bins, fill=True, color=colour)


def _line(chosen: bool) -> dict[str, str | float]:
    return {"linewidth": 1.8, "linestyle": "-"} if chosen else {"linewidth": 1.0, "linestyle": ":"}


def _label(axis: Axes, thresholds: Mapping[float, float], chosen: float) -> None:
    """Write the TPR of each threshold above the panel, moved apart where thresholds lie close."""
    ascending = sorted(thresholds.items(), key=lambda item: item[1])
    places = _apart([threshold for _, threshold in ascending], *axis.get_xlim())
    for (tpr, threshold), place in zip(ascending, places, strict=True):
        axis.annotate(
            f"TPR {100 * tpr:g} %",
            (threshold, 1),
            (place, 1.3),
            xycoords=("data", "axes fraction"),
            textcoords=("data", "axes fraction"),
            ha="center",
            fontsize="small",
            fontweight="bold" if tpr == chosen else "normal",
            arrowprops={"arrowstyle": "-", "linewidth": 0.7},
        )


def _apart(ascending: Sequence[float], left: float, right: float) -> list[float]:
    """Places from `left` to `right`, each as near to its own as leaves a gap to the one before."""
    gap = LABEL_GAP * (right - left)
    places: list[float] = []
    for wanted in ascending:
        places.append(max(wanted, places[-1] + gap) if places else wanted)
    beyond = max(0.0, places[-1] - right) if places else 0.0
    return [place - beyond for place in places]
