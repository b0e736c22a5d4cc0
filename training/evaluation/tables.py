"""An evaluation as tables: the paper's Table 1 and Table 3 with 95 % intervals, in Markdown and in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from training.evaluation.evaluate import CLEANED, Evaluation
from training.evaluation.intervals import Figures
from training.evaluation.metrics import METRICS

AVERAGE = "average"
TITLES = {"auroc": "AUROC", "fpr95": "FPR95", "aupr_in": "AUPR-in", "aupr_out": "AUPR-out"}
LOWER_IS_BETTER = frozenset({"fpr95"})

Row = list[str]


def ordered(evaluation: Evaluation) -> list[str]:
    """Detectors by average AUROC, the best first."""
    return sorted(evaluation.averages, key=lambda name: -_value(evaluation.averages[name], "auroc"))


def tables(evaluation: Evaluation) -> dict[str, str]:
    """File name -> text: results.md in percent, results.csv in fractions."""
    return {"results.md": markdown(evaluation), "results.csv": comma_separated(evaluation)}


def markdown(evaluation: Evaluation) -> str:
    """Both tables with what is needed to read them."""
    sets = list(next(iter(evaluation.results.values())))
    whole = [name for name in sets if not name.endswith(CLEANED)]
    times = evaluation.times
    sections = [
        "## OOD detection (paper Table 1)",
        _grid(_table_1(evaluation, sets)),
        f"Percent, with 95 % intervals; **bold**: the best of its column and all whose interval overlaps with its own. "
        f"The average is over {', '.join(whole)}. {ranking(evaluation)}",
        _counts(evaluation, sets),
        f"Test time in ms a picture, medians in batches of {times.batch_size}: forward pass {times.forward_ms:.3g}"
        + "".join(f", {name}'s own pass {ms:.3g}" for name, ms in times.own_pass_ms.items())
        + f"; the flat head, in place of the group head, {times.flat_head_ms:.2g}.",
        "## Precision and recall (paper Table 3)",
        _grid(_table_3(evaluation, sets)),
        "AUPR-in has ID as its positive class (the paper's), AUPR-out OOD; in brackets what scores that tell nothing "
        "would get.",
        *([_list(evaluation.notes)] if evaluation.notes else []),
    ]
    return "\n\n".join(sections) + "\n"


def ranking(evaluation: Evaluation) -> str:
    """Who is best on average, or that the data does not tell."""
    first, *others = ordered(evaluation)
    tied = [name for name in others if _overlap(evaluation.averages[name], evaluation.averages[first], "auroc")]
    if not others:
        return ""
    if not tied:
        return f"{first} has the best average AUROC."
    return (
        f"The average AUROC does not tell {first} from {', '.join(tied)}: their intervals overlap, "
        "so they are not ranked."
    )


def comma_separated(evaluation: Evaluation) -> str:
    """A row for each detector and OOD set, and one for its average; fractions and milliseconds."""
    header = ["detector", "set", "n_in", "n_out"]
    for metric in METRICS:
        header += [metric, f"{metric}_low", f"{metric}_high"]
    rows: list[list[object]] = []
    for detector in ordered(evaluation):
        by_set = evaluation.results[detector] | {AVERAGE: evaluation.averages[detector]}
        for name, figures in by_set.items():
            cells: list[object] = [detector, name, figures.get("n_in", ""), figures.get("n_out", "")]
            for metric in METRICS:
                cells += [_value(figures, metric), *_limits(figures, metric)]
            rows.append([*cells, evaluation.times.score_ms[detector], evaluation.times.total_ms(detector)])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[*header, "score_ms", "total_ms"], *rows])
    return text.getvalue()


def _counts(evaluation: Evaluation, sets: Sequence[str]) -> str:
    some = next(iter(evaluation.results.values()))
    return f"Pictures: ID {some[sets[0]]['n_in']}, " + ", ".join(f"{name} {some[name]['n_out']}" for name in sets) + "."


def _table_1(evaluation: Evaluation, sets: Sequence[str]) -> list[Row]:
    header = ["detector"]
    for name in [*sets, AVERAGE]:
        header += [f"{name} AUROC ↑", f"{name} FPR95 ↓"]
    columns = [(name, metric) for name in [*sets, AVERAGE] for metric in ("auroc", "fpr95")]
    rows = _cells(evaluation, columns)
    for detector, row in rows.items():
        row += [f"{evaluation.times.score_ms[detector]:.2g}", f"{evaluation.times.total_ms(detector):.3g}"]
    return [[*header, "score, ms", "total, ms"], *rows.values()]


def _table_3(evaluation: Evaluation, sets: Sequence[str]) -> list[Row]:
    header = ["detector"]
    some = next(iter(evaluation.results.values()))
    for name in sets:
        n_in, n_out = _value(some[name], "n_in"), _value(some[name], "n_out")
        share = 100 * n_in / (n_in + n_out)
        header += [f"{name} AUPR-in ↑ ({share:.1f})", f"{name} AUPR-out ↑ ({100 - share:.1f})"]
    header += [f"{AVERAGE} AUPR-in ↑", f"{AVERAGE} AUPR-out ↑"]
    columns = [(name, metric) for name in [*sets, AVERAGE] for metric in ("aupr_in", "aupr_out")]
    return [header, *_cells(evaluation, columns).values()]


def _cells(evaluation: Evaluation, columns: Sequence[tuple[str, str]]) -> dict[str, Row]:
    """{detector: its name and a cell for each (set, metric)}, those tied with the best of a column in bold."""
    rows = {detector: [detector] for detector in ordered(evaluation)}
    for name, metric in columns:
        column = {
            detector: evaluation.averages[detector] if name == AVERAGE else evaluation.results[detector][name]
            for detector in rows
        }
        sign = -1 if metric in LOWER_IS_BETTER else 1
        best = max(column.values(), key=lambda figures: sign * _value(figures, metric))
        for detector, figures in column.items():
            low, high = _limits(figures, metric)
            value = f"{100 * _value(figures, metric):.2f}"
            value = f"**{value}**" if _overlap(figures, best, metric) else value
            rows[detector].append(f"{value} [{100 * low:.1f}, {100 * high:.1f}]")
    return rows


def _grid(rows: Sequence[Row]) -> str:
    header, *body = rows
    alignment = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [header, alignment, *body]
    )


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _value(figures: Figures, key: str) -> float:
    value = figures[key]
    assert not isinstance(value, list), f"{key} is an interval. This is a bug."
    return float(value)


def _limits(figures: Figures, metric: str) -> tuple[float, float]:
    limits = figures[f"{metric}_interval"]
    assert isinstance(limits, list), f"{metric}_interval is a number. This is a bug."
    return limits[0], limits[1]


def _overlap(one: Figures, other: Figures, metric: str) -> bool:
    (low, high), (other_low, other_high) = _limits(one, metric), _limits(other, metric)
    return low <= other_high and other_low <= high
