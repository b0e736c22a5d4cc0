"""The studies of guards: what is fitted is what the tables need, and RESULTS.md has them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.commands import defaults
from training.data.sets import read_data_set
from training.fitting.recipes import one_cycle
from training.model.backbones import backbone
from training.model.efficientnet_lite import LITE0
from training.studies import guard_material, guarding, guards, results
from training.studies.guard_material import Frozen
from training.studies.guarding import DEFAULT, STATISTICS, Bench
from training.studies.guards import Figures

TABLES = ("statistics", "outliers", "families", "imagenet", "without-imagenet", "classes", "siblings")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Five classes of noise, a few foreign pictures, and a small network with random weights."""
    generator = np.random.default_rng(0)
    for name in [*(f"outliers/{label}" for label in range(5)), *(f"{name}/x" for name in guarding.STRANGERS)]:
        (tmp_path / name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / name / f"{number}.png")
    for name, count in {"KNOWN": 2, "UNSEEN": 1, "EXPOSED": 1, "PROCEDURAL_PICTURES": 22}.items():
        monkeypatch.setattr(guard_material, name, count)
    monkeypatch.setattr(guarding, "CLASS_COUNTS", (2, 5))
    torch.manual_seed(0)
    extractor = backbone("R11-tiny")
    networks = {
        name: Frozen(extractor, 16, tmp_path / f"features {place}")
        for place, name in enumerate((guarding.LITE_SMALL, guarding.LITE_LARGE, guarding.WITHOUT_IMAGENET))
    }
    outliers = read_data_set(tmp_path / "outliers")
    return Bench(tmp_path, outliers, outliers, networks)


def told(let_in: float) -> Figures:
    """What a guard might have said."""
    values = {"auroc": 0.5, "fpr95": 0.5, "let_in": let_in}
    names = (guarding.SIBLINGS, guarding.DEVELOPMENT, *guarding.STRANGERS)
    shares = [{"tpr": 0.95, "share": let_in, "interval": [0.1, 0.9]}]
    sets = dict.fromkeys(names, values)
    return {"top1": {"group": 1.0}, "statistics": dict.fromkeys(STATISTICS, sets), "auroc": 0.5, "let_in": shares}


def test_the_tables_are_of_the_guards_that_are_fitted(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every guard that a table asks for has a job of its name, and each table goes between its markers."""
    studies = (guarding._networks, guarding._growing, guarding._foreign_pictures)
    names = [name for study in studies for name, _ in study(bench, 0)]
    assert len(set(names)) == len(names)
    monkeypatch.setattr(guarding, "WHOLE", "outliers, all 5")
    markers = (f"<!-- begin guard-{name} -->\nold\n<!-- end guard-{name} -->\n" for name in TABLES)
    (tmp_path / "RESULTS.md").write_text("words\n" + "\n".join(markers))
    monkeypatch.setattr(guarding, "RESULTS", tmp_path / "RESULTS.md")
    guarding.write_up({name: [told(0.25)] for name in names}, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.startswith("words\n")
    assert "\nold\n" not in text
    assert text.count("25 (25 to 25)") > len(STATISTICS)


def test_a_job_judges_every_set_by_every_statistic(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is fitted with procedural pictures, on the first network."""
    jobs = dict(guarding._networks(bench, 0))
    # Eight pictures promise nothing.
    monkeypatch.setattr(guards, "threshold_rank", lambda *_: 1)
    monkeypatch.setattr(guarding, "heads", lambda _, seed: one_cycle(epochs=2, batch_size=4, seed=seed))
    figures = jobs[f"{guarding.LITE_SMALL}, procedural"]()
    assert tuple(figures["statistics"]) == STATISTICS
    for sets in figures["statistics"].values():
        assert set(sets) == {guarding.SIBLINGS, guarding.DEVELOPMENT, *guarding.STRANGERS}


def test_the_default_statistic_is_the_one_that_train_takes() -> None:
    """The tables are of what people get."""
    assert defaults.decide_by(LITE0, paper=False, on_features=True) == DEFAULT


def test_the_file_in_the_repository_has_every_table() -> None:
    """Each marker once, filled."""
    text = results.RESULTS.read_text()
    for name in TABLES:
        found = re.findall(f"<!-- begin guard-{name} -->\n(.+?)\n<!-- end guard-{name} -->", text, re.DOTALL)
        assert len(found) == 1, name
        assert len(found[0]) > 40, name
