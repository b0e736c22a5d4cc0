"""List files: both of the authors' formats, and sentences about what is wrong with them."""

from pathlib import Path

import pytest

from training.data.sets import read_data_set
from training.errors import DataError


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        (["a b.png 1", "c.png 0"], [1, 0]),
        (["a b.png 0 2", "c.png 1 1", "d 1 1"], [0, 1, 1]),
    ],
)
def test_both_list_formats_are_read(tmp_path: Path, lines: list[str], labels: list[int]) -> None:
    """`path label` and `path group label-inside-the-group`, spaces in paths included."""
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    data = read_data_set(tmp_path / "list.txt")
    assert data.labels.tolist() == labels
    assert data.paths[0] == "a b.png"


@pytest.mark.parametrize("text", ["", "a.png\n", "a.png x\n", "a.png 1\nb.png 0 1\n", "a.png 1\n\nb.png 0\n"])
def test_a_list_of_another_format_is_refused(tmp_path: Path, text: str) -> None:
    """The sentence names the list."""
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=r"list\.txt"):
        read_data_set(tmp_path / "list.txt")


def test_the_line_that_is_wrong_is_named(tmp_path: Path) -> None:
    """Among millions nobody finds it otherwise."""
    (tmp_path / "list.txt").write_text("a.png 1\nb.png 0\nc.png\n")
    with pytest.raises(DataError, match="Line 3"):
        read_data_set(tmp_path / "list.txt")


def test_a_label_beyond_a_bundles_classes_is_refused(tmp_path: Path) -> None:
    """A list of other data."""
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 2\n")
    with pytest.raises(DataError, match="label 2"):
        read_data_set(tmp_path / "list.txt", ["cat", "dog"])
