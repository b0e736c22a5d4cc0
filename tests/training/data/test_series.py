"""Series: known from paths, found by likeness, and joined."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from training.data.series import (
    Likeness,
    by_features,
    by_pattern,
    by_thumbnails,
    find_series,
    joined,
    near_copies,
    nearest,
)
from training.data.sets import DataSet, read_data_set
from training.data.survey import survey
from training.errors import DataError, SettingError


def on_a_circle(*degrees: float, near: float) -> Likeness:
    """Pictures described by an angle each."""
    angles = np.radians(degrees)
    return Likeness(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.zeros(2, np.float32), near)


def smooth_picture(seed: int) -> Image.Image:
    """A picture of coarse random colours, as photographs are coarse."""
    pixels = np.random.default_rng(seed).integers(0, 200, (5, 5, 3), np.uint8)
    return Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def shops(tmp_path: Path) -> Path:
    """Two classes from two shops, three pictures of each class in each."""
    for number in range(12):
        name, shop = ("cat", "dog")[number % 2], ("north", "south")[number // 2 % 2]
        (tmp_path / name).mkdir(exist_ok=True)
        smooth_picture(number).save(tmp_path / name / f"{shop}-{number:02}.png")
    return tmp_path


def test_the_first_group_of_a_pattern_names_the_series() -> None:
    """Else all that it matches; names are sorted, and numbers are places among them."""
    paths = ["a/south-1.png", "a/north-1.png", "b/south-2.png"]
    names, series = by_pattern(paths, r"/(\w+)-\d")
    assert (names, series.tolist()) == (("north", "south"), [1, 0, 1])
    assert by_pattern(paths, r"^\w/")[0] == ("a/", "b/")


def test_pictures_that_a_pattern_does_not_match_are_counted_and_one_is_named() -> None:
    """Beside the pattern, since either may be wrong; what is no pattern at all is said too."""
    with pytest.raises(DataError, match=r"'north.*2 of 3 pictures, a/south-1\.png the first"):
        by_pattern(["a/north-1.png", "a/south-1.png", "a/2.png"], "north")
    with pytest.raises(SettingError, match=r"'\(' is no regular expression"):
        by_pattern(["a"], "(")


def test_near_copies_are_linked_through_others_and_within_a_class() -> None:
    """0 and 20 degrees are of one series by way of 10; at 5 degrees another class begins."""
    likeness = on_a_circle(0, 90, 20, 5, 10, near=np.cos(np.radians(12)))
    series = near_copies(likeness, np.array([0, 0, 0, 1, 0]))
    assert series[0] == series[2] == series[4]
    assert len(set(series.tolist())) == 3


def test_series_do_not_depend_on_the_blocks_they_are_found_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class larger than a block is compared with all of itself."""
    likeness = on_a_circle(*np.random.default_rng(0).uniform(0, 360, 60), near=np.cos(np.radians(3)))
    labels = np.arange(60) % 2
    whole = near_copies(likeness, labels)
    monkeypatch.setattr("training.data.series.BLOCK", 7)
    assert (near_copies(likeness, labels) == whole).all()
    assert 2 < whole.max() + 1 < 60


def test_likeness_of_features_is_about_their_mean() -> None:
    """What all pictures have in common makes no two of them alike."""
    features = np.random.default_rng(0).normal(size=(20, 8)) + 100
    assert near_copies(by_features(features), np.zeros(20, np.int64)).max() > 5


def test_joined_series_keep_together_what_any_does() -> None:
    """Through each other too, and whatever their numbers."""
    series = joined(np.array([7, 7, 3, 9, 4]), np.array([0, 1, 1, 2, 3]), np.array([0, 1, 2, 3, 3]))
    assert series.tolist() == [0, 0, 0, 1, 1]


def test_the_nearest_is_of_the_same_class() -> None:
    """A picture of a class that the others lack has none."""
    likeness = on_a_circle(0, 60, 1, 90, 5, near=1)
    labels = np.array([0, 0, 1, 0, 2])
    closest = nearest(likeness, labels, np.array([1, 4]), np.array([0, 2, 3]))
    assert closest == pytest.approx([np.cos(np.radians(30)), -1])


def test_a_resized_and_a_brighter_copy_are_found_and_other_pictures_are_not(tmp_path: Path) -> None:
    """By thumbnails alone, whatever the copy's size and format."""
    (tmp_path / "cat").mkdir()
    for number in range(4):
        smooth_picture(number).save(tmp_path / "cat" / f"{number}.png")
    smooth_picture(0).resize((31, 40)).save(tmp_path / "cat" / "resized.jpg")
    ImageEnhance.Brightness(smooth_picture(1)).enhance(1.2).save(tmp_path / "cat" / "brighter.png")
    data = read_data_set(tmp_path)
    series = dict(zip(data.paths, find_series(data, survey(data).thumbnails).tolist(), strict=True))
    assert series["cat/resized.jpg"] == series["cat/0.png"]
    assert series["cat/brighter.png"] == series["cat/1.png"]
    assert len(set(series.values())) == 4


def test_alike_features_join_pictures_that_do_not_look_alike(shops: Path) -> None:
    """Where features are at hand."""
    data = read_data_set(shops)
    features = np.random.default_rng(0).normal(size=(12, 64))
    features[1] = features[0]
    without, with_features = (find_series(data, survey(data).thumbnails, some) for some in (None, features))
    assert len(set(without.tolist())) == 12
    assert with_features[0] == with_features[1]
    assert len(set(with_features.tolist())) == 11


def test_a_pattern_is_joined_with_copies_alone(shops: Path) -> None:
    """A copy in another shop joins the two shops; a picture with like features does not."""
    data, seen = _with_survey(shops)
    features = np.ones((12, 8)) * np.arange(12)[:, None]
    assert sorted(set(find_series(data, seen, features, group_by="(north|south)").tolist())) == [0, 1]
    (shops / "cat" / "south-99.png").write_bytes((shops / "cat" / "north-00.png").read_bytes())
    data, seen = _with_survey(shops)
    assert set(find_series(data, seen, group_by="(north|south)").tolist()) == {0}


def test_flat_pictures_are_alike_to_none() -> None:
    """A picture of one colour has no direction, and nothing is divided by zero."""
    assert near_copies(by_thumbnails(np.full((3, 4, 4), 9, np.uint8)), np.zeros(3, np.int64)).tolist() == [0, 1, 2]


def _with_survey(folder: Path) -> tuple[DataSet, np.ndarray]:
    data = read_data_set(folder)
    return data, survey(data).thumbnails


def test_likeness_that_makes_most_classes_one_series_counts_nothing(tmp_path: Path) -> None:
    """It tells what the classes are; with it nothing of them could be held out, so only copies belong together."""
    generator = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for place in range(4):
            noise = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8))
            noise.save(tmp_path / name / f"{place}.png")
    data = read_data_set(tmp_path)
    centres = np.eye(64)[data.labels] * 10 + generator.normal(0, 0.1, (12, 64))
    assert len(set(find_series(data, survey(data).thumbnails, centres).tolist())) == 12
    one_class_alike = np.where(data.labels[:, None] == 0, centres, generator.normal(0, 1, (12, 64)))
    series = find_series(data, survey(data).thumbnails, one_class_alike)
    assert len(set(series[data.labels == 0].tolist())) == 1
