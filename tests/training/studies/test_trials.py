"""A trial fits the right labels of the right pictures: on features that give the classes away, it gets all of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.data.sets import DataSet
from training.fitting.recipes import one_cycle
from training.grouping.groups import Grouping
from training.studies.trials import Material, Trial, read_trials, run_trial

pytestmark = pytest.mark.numeric

CLASSES, PER_CLASS, SIZE = 6, 30, 12


@pytest.fixture
def material() -> Material:
    """Class c lights up feature c; the OOD set lights up features that no class does."""
    generator = np.random.default_rng(0)

    def features(labels: np.ndarray) -> np.ndarray:
        return (np.eye(SIZE)[labels] + 0.05 * generator.standard_normal((len(labels), SIZE))).astype(np.float32)

    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    data = DataSet(Path("."), tuple("abcdef"), tuple(str(row) for row in range(len(labels))), labels)
    return Material(
        "none", data, np.stack([features(labels)] * 2), data, features(labels), {"far": features(np.full(40, 9))}
    )


def test_a_cell_of_some_classes_tells_them_apart_and_from_what_is_foreign(material: Material, tmp_path: Path) -> None:
    """Labels are those of the chosen classes in their order, and only their test pictures count."""
    classes = np.array([1, 3, 4])
    rows = np.flatnonzero(np.isin(material.train.labels, classes))
    trial = Trial({"classes": 3, "seed": 0}, classes, rows, Grouping(("x", "y"), ((0, 2), (1,))))
    run_trial(trial, material, one_cycle(epochs=40, batch_size=15, learning_rate=0.5), tmp_path)
    found = read_trials(tmp_path)[0]
    assert found["top1"] == {"group": 1.0, "flat": 1.0}
    with np.load(tmp_path / trial.name / "scores.npz") as scores:
        assert scores["id/labels"].tolist() == [0] * PER_CLASS + [1] * PER_CLASS + [2] * PER_CLASS
        assert (scores["id/group_class"] == scores["id/labels"]).all()
    assert found["results"]["mos"]["far"]["auroc"] > 0.95


def test_what_a_killed_cell_left_is_not_a_result(tmp_path: Path) -> None:
    """A folder that was not renamed is not counted."""
    for name in ("a=1", "a=2.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trial.json").write_text(json.dumps({"varied": {"a": name}}))
    assert [trial["varied"]["a"] for trial in read_trials(tmp_path)] == ["a=1"]
