"""The tables of `guarding.py` in Markdown: percent, means over the seeds, with ranges where a decision is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from training.data.procedural import FAMILIES
from training.evaluation.metrics import TPR
from training.studies.guards import Figures

Values = Mapping[str, float]
"""Of one statistic of one guard against some strangers: {"auroc", "fpr95", "let_in"}."""

NOTE = (
    "Percent: AUROC / FPR95, share let in at the threshold certified to keep 95 % (range of the share), means over "
    "{seeds} draws."
)


def guards_table(
    guards: Mapping[str, list[Figures]], statistics: Sequence[str], near: Sequence[str], far: Sequence[str]
) -> str:
    """A row for each guard, which comes once a seed, and each statistic; the average is over `far`."""
    rows = [["guard", "top-1", "statistic", *near, *far, "average"]]
    for name, repeats in guards.items():
        top1 = f"{100 * np.mean([figures['top1']['group'] for figures in repeats]):.1f}"
        for statistic in statistics:
            found = [figures["statistics"][statistic] for figures in repeats]
            cells = [cell([sets[called] for sets in found]) for called in (*near, *far)]
            rows.append([name, top1, statistic, *cells, cell([average(sets, far) for sets in found])])
    note = f"{_note(guards)} The average is over {', '.join(far)}; top-1 is of the group softmax."
    return _markdown(rows, note)


def families_table(
    found: Mapping[str, list[Figures]], network: str, statistics: Sequence[str], far: Sequence[str]
) -> str:
    """A row for each family of procedural pictures, without it and with it alone: averages over `far`."""
    rows = [["family", *(f"{statistic}, {how}" for statistic in statistics for how in ("without it", "alone"))]]
    names = {family: (f"without {family}", f"{family} alone") for family in FAMILIES}
    for family, guards in {"all of them": ("none", "procedural"), **names}.items():
        row = [family]
        for statistic in statistics:
            for guard in guards:
                repeats = [figures["statistics"][statistic] for figures in found[f"{network}, {guard}"]]
                row.append(cell([average(sets, far) for sets in repeats]))
        rows.append(row)
    return _markdown(
        rows,
        f"{_note(found)} Averages over {', '.join(far)}; the first row is of no foreign picture, and of all families.",
    )


def foretold_table(foretold: list[Figures], guards: list[Figures], statistic: str, unseen: str) -> str:
    """A row for each draw: what leaving classes out foretold, and what classes that were truly unseen gave."""
    rows = [["draw", "AUROC foretold", "AUROC measured", "let in, foretold (95 % interval)", "let in, measured"]]
    for number, (told, guard) in enumerate(zip(foretold, guards, strict=True), 1):
        share = next(share for share in told["let_in"] if share["tpr"] == TPR)
        low, high = share["interval"]
        measured = guard["statistics"][statistic][unseen]
        rows.append(
            [
                str(number),
                f"{100 * told['auroc']:.1f}",
                f"{100 * measured['auroc']:.1f}",
                f"{100 * share['share']:.0f} ({100 * low:.0f} to {100 * high:.0f})",
                f"{100 * measured['let_in']:.0f}",
            ]
        )
    return _markdown(rows, f"Percent, by {statistic}, at the threshold certified to keep 95 %.")


def average(sets: Mapping[str, Values], names: Sequence[str]) -> Values:
    """The mean of each metric over some sets of strangers."""
    return {metric: float(np.mean([sets[name][metric] for name in names])) for metric in sets[names[0]]}


def cell(repeats: Sequence[Values]) -> str:
    """`AUROC / FPR95, let in (least to most)` over the seeds."""
    auroc, fpr95, let_in = ([100 * values[metric] for values in repeats] for metric in ("auroc", "fpr95", "let_in"))
    return (
        f"{np.mean(auroc):.1f} / {np.mean(fpr95):.0f}, {np.mean(let_in):.0f} ({min(let_in):.0f} to {max(let_in):.0f})"
    )


def _note(guards: Mapping[str, list[Figures]]) -> str:
    return NOTE.format(seeds=max(map(len, guards.values())))


def _markdown(rows: Iterable[Sequence[str]], note: str) -> str:
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "\n".join([*("| " + " | ".join(row) + " |" for row in lines), "", note])
