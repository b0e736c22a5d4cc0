"""Audits: NINCO's files, paths with other roots, and what is wrong with a file."""

from pathlib import Path

import pytest

from training.errors import DataError
from training.evaluation.audit import lay_over, read_audit

PATHS = ("banded/banded_0021.jpg", "banded/banded_0024.jpg", "blotchy/blotchy_0022.jpg", "bubbly/bubbly_0064.jpg")
NINCO = """index,image_location,decision
12,textures/images/banded/banded_0021.jpg,o
129,textures/images/blotchy/blotchy_0022.jpg,u
379,textures/images/bubbly/bubbly_0064.jpg,i
380,textures/images/bubbly/bubbly_9999.jpg,i
"""


def audit_file(folder: Path, text: str) -> Path:
    file = folder / "audit.csv"
    file.write_text(text, "utf-8")
    return file


def test_ninco_file_is_read_and_laid_over_a_set(tmp_path: Path) -> None:
    """Decisions o, u and i; rows with more leading folders than the set; one stranger, one picture unjudged."""
    audit = lay_over(read_audit(audit_file(tmp_path, NINCO)), PATHS)
    assert audit.kept.tolist() == [True, False, False, False]
    assert audit.counts == {"ood": 1, "id": 1, "unclear": 1}
    assert audit.strangers == 1
    assert audit.sentence("textures") == (
        "textures: audited, 1 OOD, 1 ID and 1 unclear; without a decision, and so left out of the cleaned figures: 1; "
        "rows that name no picture of the set: 1."
    )


def test_words_and_a_set_rooted_higher_are_understood(tmp_path: Path) -> None:
    """`OOD`, `id` and `unclear` in any case; the picture's path may be the longer one; other columns do not matter."""
    text = "decision,who,image_location\nOOD,me,1.jpg\nid,me,b/2.jpg\n Unclear ,you,b/3.jpg\n"
    audit = lay_over(read_audit(audit_file(tmp_path, text)), ("a/1.jpg", "/far/b/2.jpg", "b/3.jpg"))
    assert audit.kept.tolist() == [True, False, False]
    assert audit.counts == {"ood": 1, "id": 1, "unclear": 1}
    assert audit.sentence("x") == "x: audited, 1 OOD, 1 ID and 1 unclear."


def test_the_same_name_in_another_folder_is_another_picture() -> None:
    """A row means a picture only where one path ends as the other does, folder by folder."""
    audit = lay_over([("c/1.jpg", "id"), ("a/1.jpg", "ood"), ("ba/1.jpg", "id")], ("a/1.jpg", "b/1.jpg"))
    assert audit.kept.tolist() == [True, False]
    assert audit.strangers == 2


def test_a_picture_judged_twice_counts_once_and_in_two_ways_is_unclear() -> None:
    """NINCO's files repeat pictures."""
    audit = lay_over([("1.jpg", "ood"), ("1.jpg", "ood"), ("2.jpg", "ood"), ("2.jpg", "id")], ("1.jpg", "2.jpg"))
    assert audit.counts == {"ood": 1, "id": 0, "unclear": 1}
    assert audit.kept.tolist() == [True, False]


def test_a_row_that_fits_two_pictures_is_refused() -> None:
    """Rather than guess."""
    with pytest.raises(DataError, match=r"'1.jpg' fits 2 pictures; write more"):
        lay_over([("1.jpg", "ood")], ("a/1.jpg", "b/1.jpg"))


def test_an_audit_that_leaves_nothing_is_refused() -> None:
    """Most likely another set's."""
    with pytest.raises(DataError, match="no picture of the set OOD"):
        lay_over([("elsewhere/1.jpg", "ood"), ("2.jpg", "id")], ("1.png", "2.jpg"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,verdict\na.jpg,o\n", "`image_location` and `decision`"),
        ("", "`image_location` and `decision`"),
        ("image_location,decision\na.jpg,o\nb.jpg,maybe\n", "Line 3 .* needs a path and a decision"),
        ("image_location,decision\n,o\n", "Line 2"),
        ("image_location,decision\na.jpg\n", "Line 2"),
    ],
)
def test_a_file_of_another_form_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """One sentence with the remedy."""
    with pytest.raises(DataError, match=message):
        read_audit(audit_file(tmp_path, text))


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    """Neither ends in a traceback."""
    with pytest.raises(DataError, match="nowhere"):
        read_audit(tmp_path / "nowhere.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="binary"):
        read_audit(binary)
