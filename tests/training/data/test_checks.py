"""Checks: everything wrong with a folder at once."""

from pathlib import Path

import pytest
from PIL import Image

from training.data.checks import Finding, check, findings, read_checked, shared_pictures
from training.data.sets import read_data_set, read_pictures
from training.data.survey import survey
from training.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 25 different pictures each."""
    for place, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for number in range(25):
            Image.new("RGB", (8, 6), (10 * number, 100 * place, 0)).save(tmp_path / name / f"{number:02}.png")
    return tmp_path


def found(folder: Path) -> list[Finding]:
    """What is wrong with the data set in a folder."""
    data = read_data_set(folder)
    return findings(data, survey(data))


def test_nothing_is_said_of_a_good_folder(folder: Path) -> None:
    """No finding."""
    assert found(folder) == []


def test_all_unreadable_pictures_are_named_in_one_error(folder: Path) -> None:
    """The first ten with their reasons, the others counted; with substitutes they are a warning."""
    for number in range(12):
        (folder / "cat" / f"{number:02}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"12 of 50 pictures cannot be read: cat/00\.png \(.*cat/09\.png.*and 2 more"):
        check(found(folder), print)
    said: list[str] = []
    data, _ = read_checked(folder, substitutes=True, seed=0, warn=said.append)
    assert len(said) == 1
    assert "cat/00.png" not in list(data.paths)


def test_a_few_pictures_in_two_classes_are_a_warning_and_many_an_error(folder: Path) -> None:
    """Large public sets have some; where they are over a tenth of a class, the two are no two classes."""
    for number in range(3):
        (folder / "cat" / f"{number:02}.png").write_bytes((folder / "dog" / f"{number:02}.png").read_bytes())
        (finding,) = found(folder)
        assert f"more than one class, {number + 1} times: cat/00.png = dog/00.png" in finding.sentence
        assert finding.fatal == (number == 2)


def test_a_picture_twice_in_its_class_is_noted(folder: Path) -> None:
    """It harms little: it stays on one side of a split."""
    (folder / "cat" / "again.png").write_bytes((folder / "cat" / "03.png").read_bytes())
    assert [(finding.fatal, "cat/03.png = cat/again.png" in finding.sentence) for finding in found(folder)] == [
        (False, True)
    ]


def test_small_classes_are_named_with_their_counts(folder: Path) -> None:
    """A class of ten pictures works; what is said of it is rough."""
    for number in range(10, 25):
        (folder / "dog" / f"{number}.png").unlink()
    (finding,) = found(folder)
    assert "Fewer than 20 pictures in 1 of 2 classes: dog (10)" in finding.sentence
    assert not finding.fatal


def test_a_class_that_a_list_leaves_out_is_an_error(folder: Path) -> None:
    """A label with a gap before it."""
    (folder / "list.txt").write_text("".join(f"cat/{number:02}.png {number % 2 * 2}\n" for number in range(25)))
    fatal = [finding.sentence for finding in found(folder / "list.txt") if finding.fatal]
    assert fatal == ["No picture in 1 of 3 classes: class 1; add pictures to each."]


def test_everything_that_stops_a_fit_is_in_one_error_and_the_rest_is_warned_of() -> None:
    """A sentence a line."""
    said: list[str] = []
    with pytest.raises(DataError, match=r"^one\nthree$"):
        check([Finding("one", True), Finding("two", False), Finding("three", True)], said.append)
    assert said == ["two"]


def test_pictures_that_another_set_holds_too_are_found_by_content(folder: Path, tmp_path: Path) -> None:
    """Whatever they are called there."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "new.png").write_bytes((folder / "cat" / "07.png").read_bytes())
    Image.new("RGB", (9, 9)).save(other / "own.png")
    assert shared_pictures(read_pictures(other), read_pictures(folder / "cat")) == ["new.png"]
