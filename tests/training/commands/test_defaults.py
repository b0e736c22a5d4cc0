"""What `train` chooses where nothing is typed."""

from pathlib import Path

import pytest
from PIL import Image

from training.commands import defaults
from training.data.sets import DataSet, read_pictures
from training.decision.statistic import part_names
from training.model.efficientnet_lite import LITE0


@pytest.mark.parametrize(
    ("pictures", "calibration"),
    [(200, 0.2), (5_000, 0.2), (8_000, 0.125), (10_000, 0.1), (1_000_000, 0.1)],
)
def test_small_sets_hold_out_more_for_the_threshold(pictures: int, calibration: float) -> None:
    """A thousand pictures where a tenth to a fifth of the set gives them."""
    assert defaults.shares(pictures, paper=False) == (calibration, 0.05)


def test_the_papers_recipe_keeps_the_papers_choices() -> None:
    """Its shares whatever the size, its score, and no foreign picture."""
    assert defaults.shares(200, paper=True) == defaults.shares(10**6, paper=True) == (0.1, 0.02)
    assert defaults.decide_by(LITE0, paper=True, on_features=True) == "mos"
    assert defaults.outliers(paper=True, on_features=True) == ()


def test_heads_alone_are_decided_by_parts_that_can_be_made() -> None:
    """MOS among them; where the network itself was fitted, or knows little of the world, MOS alone decides."""
    assert "mos" in part_names(defaults.decide_by(LITE0, paper=False, on_features=True))
    assert defaults.decide_by(LITE0, paper=False, on_features=False) == "mos"
    assert defaults.decide_by("R35-s2", paper=False, on_features=True) == "mos"


def test_made_outliers_come_where_they_cost_a_look_up() -> None:
    """A backbone that is fitted would see each of them at each step."""
    assert defaults.outliers(paper=False, on_features=True) == ("procedural",)
    assert defaults.outliers(paper=False, on_features=False) == ()


def pictures(folder: Path, *sizes: tuple[int, int]) -> DataSet:
    """Pictures of some widths and heights in pixels."""
    for place, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"{place}.png")
    return read_pictures(folder)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(32, 32)], 160),
        ([(161, 300)], 192),
        ([(500, 160)], 160),
        ([(40, 40), (200, 190), (4000, 3000)], 192),
        ([(4000, 3000)], 224),
    ],
)
def test_the_side_is_the_least_that_loses_nothing_of_a_common_picture(
    tmp_path: Path, sizes: list[tuple[int, int]], side: int
) -> None:
    """By the median of the shorter sides; small pictures are enlarged to 160, and there is nothing above 224."""
    assert defaults.side(LITE0, pictures(tmp_path, *sizes)) == side


def test_a_backbone_without_sides_of_its_own_has_no_default(tmp_path: Path) -> None:
    """BiT takes any."""
    assert defaults.side("R11-tiny", pictures(tmp_path, (200, 200))) is None
    assert (defaults.sides_divide_by("R11-tiny"), defaults.sides_divide_by(LITE0)) == (1, 32)


def test_many_pictures_are_sized_by_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers of a million files are not read for a median; the same ones are read again."""
    monkeypatch.setattr(defaults, "SIZED_PICTURES", 3)
    data = pictures(tmp_path, *[(100 + 20 * place, 400) for place in range(10)])
    read = []
    short_sides = defaults.short_sides
    monkeypatch.setattr(defaults, "short_sides", lambda some: read.append(list(some.paths)) or short_sides(some))
    assert defaults.side(LITE0, data) == defaults.side(LITE0, data)
    assert len(read[0]) == 3
    assert read[0] == read[1]
