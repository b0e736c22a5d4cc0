"""Splits: parts that are disjoint, repeatable, and shares of every class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.pixels import read_rows
from training.data.sets import read_data_set
from training.data.splits import hold_out, split, with_substitutes
from training.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, ten pictures each: cats are 255 less their number, dogs ten times theirs."""
    for name, grey in (("cat", lambda index: 255 - index), ("dog", lambda index: 10 * index)):
        (tmp_path / name).mkdir()
        for index in range(10):
            Image.new("RGB", (8, 6), (grey(index),) * 3).save(tmp_path / name / f"{index}.png")
    return tmp_path


def test_a_split_takes_its_share_of_every_class_and_loses_nothing(folder: Path) -> None:
    """Parts are disjoint, cover the set, and are the same for the same seed."""
    data = read_data_set(folder)
    parts = hold_out(data, (0.3, 0.2), seed=5)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[3, 3], [2, 2], [5, 5]]
    assert sorted(path for part in parts for path in part.paths) == sorted(data.paths)
    again, other = ([list(part.paths) for part in hold_out(data, (0.3, 0.2), seed=seed)] for seed in (5, 6))
    assert again == [list(part.paths) for part in parts]
    assert other != again


def test_a_share_is_rounded_to_the_nearest_picture(folder: Path) -> None:
    """3.8 of ten pictures are four."""
    parts = hold_out(read_data_set(folder), (0.38, 0.12), seed=0)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[4, 4], [1, 1], [5, 5]]


def test_a_split_that_leaves_a_class_empty_is_refused(folder: Path) -> None:
    """Nothing of a class left to fit is an error that names the class."""
    with pytest.raises(DataError, match="'cat'"):
        hold_out(read_data_set(folder), (0.6, 0.4), seed=0)


def test_the_rows_of_a_part_are_where_its_pictures_stand(folder: Path) -> None:
    """So that features cached for the whole serve every part of it."""
    parts = split(read_data_set(folder), calibration=0.3, validation=0.1, seed=0)
    for rows, part in (
        (parts.calibration_rows, parts.calibration),
        (parts.validation_rows, parts.validation),
        (parts.fitted_rows, parts.fitted),
    ):
        assert [parts.whole.paths[row] for row in rows] == list(part.paths)
        assert (parts.whole.labels[rows] == part.labels).all()
    assert (len(parts.calibration), len(parts.validation), len(parts.fitted)) == (6, 2, 12)


def test_the_authors_code_shows_another_picture_instead(folder: Path) -> None:
    """Defect B5 is repeated on request: the place of a broken picture holds one of the others, with its label."""
    (folder / "cat" / "3.png").write_bytes(b"broken")
    data = with_substitutes(read_data_set(folder), seed=0)
    greys = read_rows(data, range(20), height=4, width=4)[:, 0, 0, 0]
    assert greys[3] != 255 - 3
    assert (data.labels == (greys < 128)).all()
    assert np.delete(greys, 3).tolist() == [255 - i for i in range(10) if i != 3] + [10 * i for i in range(10)]
    assert "cat/3.png" not in list(data.paths)
