"""The report of an evaluation: its tables, its pictures, and a disk that fills up."""

import csv
import io
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from training.errors import DataError
from training.evaluation import plots
from training.evaluation.evaluate import Evaluation
from training.evaluation.intervals import compare
from training.evaluation.report import write
from training.evaluation.tables import comma_separated, markdown, ordered, ranking, tables
from training.evaluation.timing import Times

GROUPS = tuple(f"group {index}" for index in range(20))
DETECTORS = {f"detector{index:02d}": 2.0 - 0.12 * index for index in range(13)}  # name -> gap between ID and OOD
SETS = ("near", "far")


def an_evaluation(gaps: dict[str, float], n: int = 300) -> Evaluation:
    """Normal scores with known gaps on two sets, one audited; every class its own group's."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 40
    owner = labels % len(GROUPS)

    def others(lowest: np.ndarray | None, size: int) -> np.ndarray:
        scores = generator.uniform(0.8, 1, (size, len(GROUPS)))
        if lowest is not None:
            scores[np.arange(size), lowest] = 0.1
        return scores

    scores = {"id": {"labels": labels, "others_scores": others(owner, n)}}
    scores |= {name: {"others_scores": others(None, n // 2)} for name in SETS}
    for name, gap in gaps.items():
        scores["id"][name] = generator.normal(gap, 1, n)
        scores["near"][name], scores["far"][name] = generator.normal(0, 1, (2, n // 2))
    scores["near.cleaned"] = {key: values[:40] for key, values in scores["near"].items()}
    results, averages = {}, {}
    for name in gaps:
        ood_sets = {key: values[name] for key, values in scores.items() if key != "id"}
        results[name], averages[name] = compare(scores["id"][name], ood_sets, SETS, "paper", 0)
    times = Times(64, 4.0, 0.01, {"odin": 9.0}, {name: 0.001 * (1 + index) for index, name in enumerate(gaps)})
    groups = tuple(index % len(GROUPS) for index in range(40))
    return Evaluation(scores, results, averages, {}, {}, GROUPS, groups, times, ("near: audited.",))


@pytest.fixture(scope="module")
def three() -> Evaluation:
    """Two detectors that cannot be told apart and one far behind, not in order."""
    return an_evaluation({"poor": 0.2, "good": 1.5, "fine": 1.45})


@pytest.fixture(scope="module")
def thirteen() -> Evaluation:
    """As many detectors as there are, and 20 groups."""
    return an_evaluation(DETECTORS, n=200)


def grid(text: str, title: str) -> list[list[str]]:
    """The cells of the Markdown table under a heading, the header first."""
    lines = text.split(title)[1].split("\n\n")[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in rows}) == 1
    return [rows[0], *rows[2:]]


def test_table_1_has_every_set_the_average_and_the_test_time(three: Evaluation) -> None:
    """In percent with intervals, the best average AUROC first."""
    header, *rows = grid(markdown(three), "Table 1)")
    assert header[1::2][:4] == ["near AUROC ↑", "far AUROC ↑", "near.cleaned AUROC ↑", "average AUROC ↑"]
    assert header[-2:] == ["score, ms", "total, ms"]
    assert [row[0] for row in rows] == ordered(three)
    assert ordered(three)[2] == "poor"
    best = three.averages[ordered(three)[0]]
    low, high = best["auroc_interval"]  # type: ignore[misc]
    assert rows[0][7] == f"**{100 * best['auroc']:.2f}** [{100 * low:.1f}, {100 * high:.1f}]"  # type: ignore[operator]
    assert rows[2][-2:] == ["0.001", "4"]


def test_what_is_tied_with_the_best_is_bold_and_nothing_else(three: Evaluation) -> None:
    """In a column where lower is better as well."""
    header, *rows = grid(markdown(three), "Table 1)")
    for column in (header.index("average AUROC ↑"), header.index("average FPR95 ↓")):
        assert [row[column].startswith("**") for row in rows] == [True, True, False]


def test_table_3_names_the_base_rates(three: Evaluation) -> None:
    """300 ID and 150 OOD pictures: 66.7 and 33.3 percent; the cleaned set has others."""
    header, *rows = grid(markdown(three), "Table 3)")
    assert header[1:3] == ["near AUPR-in ↑ (66.7)", "near AUPR-out ↑ (33.3)"]
    assert header[5:7] == ["near.cleaned AUPR-in ↑ (88.2)", "near.cleaned AUPR-out ↑ (11.8)"]
    assert len(rows) == 3


def test_overlapping_intervals_are_not_ranked(three: Evaluation) -> None:
    """The two that are close are named; with the poor one alone beside the best there is a winner."""
    first, second, _ = ordered(three)
    assert f"does not tell {first} from {second}:" in ranking(three)
    assert ranking(an_evaluation({"poor": 0.2, "good": 1.5})) == "good has the best average AUROC."
    assert ranking(an_evaluation({"alone": 1.0})) == ""


def test_the_csv_has_the_same_figures_as_fractions(three: Evaluation) -> None:
    """A row for each detector and set, and one for its average."""
    rows = list(csv.DictReader(io.StringIO(comma_separated(three))))
    assert len(rows) == 3 * 4
    [row] = [row for row in rows if (row["detector"], row["set"]) == ("good", "far")]
    figures = three.results["good"]["far"]
    assert float(row["fpr95"]) == figures["fpr95"]
    assert [float(row["aupr_out_low"]), float(row["aupr_out_high"])] == figures["aupr_out_interval"]
    assert (row["n_in"], row["n_out"]) == ("300", "150")
    assert float(row["total_ms"]) == pytest.approx(4.002)


def test_notes_are_part_of_the_report(three: Evaluation) -> None:
    """What was left out or audited is said where the figures are."""
    assert "- near: audited." in tables(three)["results.md"]


def lines(figure: Figure) -> dict[str, tuple[str, str]]:
    """Colour and dash of each labelled curve in the first panel."""
    drawn = [line for line in figure.axes[0].get_lines() if not line.get_label().startswith("_")]
    return {line.get_label(): (line.get_color(), line.get_linestyle()) for line in drawn}


def test_curves_of_thirteen_detectors_differ_and_the_legend_is_outside(thirteen: Evaluation) -> None:
    """No two have the same colour and dash; the legend is in the order of the average AUROC and covers no panel."""
    figure = plots.roc(thirteen)
    styles = lines(figure)
    assert len(set(styles.values())) == len(DETECTORS)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ordered(thirteen)
    figure.canvas.draw()
    box = legend.get_window_extent()
    assert not any(axis.get_window_extent().overlaps(box) for axis in figure.axes)
    plt.close(figure)


def test_the_map_of_others_scores_boxes_each_groups_own_pictures(thirteen: Evaluation) -> None:
    """Rows are the groups' pictures, then the OOD sets; the boxed cells are the dark ones."""
    figure = plots.others_by_group(thirteen)
    axis = figure.axes[0]
    values = np.asarray(axis.get_images()[0].get_array())
    boxes = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    assert values.shape == (20 + 3, 20)
    assert [(box.get_x(), box.get_y()) for box in boxes] == [(k - 0.5, k - 0.5) for k in range(20)]
    assert np.diag(values) == pytest.approx(np.full(20, 0.1))
    assert values[~np.eye(23, 20, dtype=bool)].min() > 0.8
    plt.close(figure)


def test_bars_show_every_set_and_each_groups_own_mean(thirteen: Evaluation) -> None:
    """A panel for ID and each OOD set; marks at the mean over the group's own pictures."""
    figure = plots.others(thirteen)
    assert [axis.get_title().partition(":")[0] for axis in figure.axes] == ["in-distribution", *SETS, "near.cleaned"]
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == pytest.approx(thirteen.scores["near"]["others_scores"].mean(axis=0))
    [marks] = figure.axes[0].get_lines()
    assert np.asarray(marks.get_ydata()) == pytest.approx(np.full(20, 0.1))
    plt.close(figure)


def test_a_histogram_of_constant_scores_is_drawn() -> None:
    """A detector that says the same of every picture must not end the report."""
    evaluation = an_evaluation({"flat": 1.0}, n=40)
    for values in evaluation.scores.values():
        values["flat"] = np.zeros(len(values["others_scores"]))
    figure = plots.histograms(evaluation)
    assert len(figure.axes) == 1
    plt.close(figure)


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """Writing more than this to one file fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size_bytes", [100, 20_000])
def test_a_full_disk_leaves_the_older_report_as_it_was(three: Evaluation, tmp_path: Path, size_bytes: int) -> None:
    """At the first file or at a later one: a sentence that names the folder, and nothing half-written beside it."""
    out = tmp_path / "report"
    out.mkdir()
    (out / "results.json").write_text("older")
    with files_up_to(size_bytes), pytest.raises(DataError, match=r"cannot be written to .*report .*free space"):
        write(three, out)
    assert [file.name for file in tmp_path.iterdir()] == ["report"]
    assert [file.name for file in out.iterdir()] == ["results.json"]
    assert (out / "results.json").read_text() == "older"


def test_a_report_in_the_place_of_a_file_is_refused(three: Evaluation, tmp_path: Path) -> None:
    """The file stays."""
    (tmp_path / "report").write_text("mine")
    with pytest.raises(DataError, match="report"):
        write(three, tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_a_report_is_complete_and_replaces_an_older_one(three: Evaluation, tmp_path: Path) -> None:
    """Every file that the design names, in a folder that did not exist, and again."""
    out = tmp_path / "deep" / "report"
    for _ in range(2):
        write(three, out)
    names = {"results.json", "times.json", "scores.npz", "results.md", "results.csv"}
    assert {file.name for file in out.iterdir()} == names | {
        f"{n}.png" for n in ("roc", "scores", "others", "others_by_group")
    }
    assert json.loads((out / "results.json").read_text()) == three.results
    assert json.loads((out / "times.json").read_text())["forward_ms"] == 4.0
    for file in out.glob("*.png"):
        assert plt.imread(file)[..., :3].std() > 0.02
    assert [file.name for file in out.parent.iterdir()] == ["report"]
