"""The tables say the means and ranges of the figures that they are given."""

from training.data.procedural import FAMILIES
from training.studies.guard_tables import cell, families_table, foretold_table, guards_table
from training.studies.guards import Figures


def figures(auroc: float, let_in: float) -> Figures:
    """Of a guard that tells `near` strangers worse than `far` ones."""
    near = {"auroc": auroc - 0.2, "fpr95": 0.9, "let_in": let_in + 0.2}
    far = {"auroc": auroc, "fpr95": 0.5, "let_in": let_in}
    farther = {"auroc": auroc + 0.1, "fpr95": 0.3, "let_in": let_in - 0.1}
    return {"top1": {"group": 0.8}, "statistics": {"mos": {"near": near, "far": far, "farther": farther}}}


REPEATS = [figures(0.7, 0.4), figures(0.8, 0.6)]


def test_a_cell_has_means_and_the_range_of_the_share_let_in() -> None:
    """In percent."""
    assert cell([repeat["statistics"]["mos"]["far"] for repeat in REPEATS]) == "75.0 / 50, 50 (40 to 60)"


def test_the_average_is_over_far_strangers_alone() -> None:
    """Near ones have their column and do not count."""
    row = guards_table({"one": REPEATS}, ["mos"], ["near"], ["far", "farther"]).splitlines()[2]
    assert row == (
        "| one | 80.0 | mos | 55.0 / 90, 70 (60 to 80) | 75.0 / 50, 50 (40 to 60) "
        "| 85.0 / 30, 40 (30 to 50) | 80.0 / 40, 45 (35 to 55) |"
    )


def test_each_family_has_the_guard_without_it_and_the_one_with_it_alone() -> None:
    """The first row compares no foreign picture with all families."""
    found = {"net, none": [figures(0.5, 0.9)], "net, procedural": [figures(0.8, 0.3)]}
    for place, family in enumerate(FAMILIES):
        found |= {f"net, without {family}": [figures(0.7, place / 100)], f"net, {family} alone": [figures(0.6, 0.5)]}
    rows = families_table(found, "net", ["mos"], ["far"]).splitlines()[2:]
    assert rows[0] == "| all of them | 50.0 / 50, 90 (90 to 90) | 80.0 / 50, 30 (30 to 30) |"
    assert rows[2] == f"| {FAMILIES[1]} | 70.0 / 50, 1 (1 to 1) | 60.0 / 50, 50 (50 to 50) |"


def test_what_was_foretold_stands_beside_what_was_measured_at_the_same_threshold() -> None:
    """Of several TPRs the certified 95 %."""
    shares = [
        {"tpr": 0.99, "share": 0.9, "interval": [0.8, 1.0]},
        {"tpr": 0.95, "share": 0.61, "interval": [0.5, 0.7]},
    ]
    told = [{"auroc": 0.81, "let_in": shares}]
    row = foretold_table(told, [figures(0.84, 0.62)], "mos", "far").splitlines()[2]
    assert row == "| 1 | 81.0 | 84.0 | 61 (50 to 70) | 62 |"
