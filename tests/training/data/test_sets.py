"""Reading data sets: layouts, splits, and sentences about what is wrong with them."""

import io
from pathlib import Path

import pytest
from PIL import Image

from training.data.lists import write_list
from training.data.pixels import read_picture
from training.data.sets import DataSet, pictures_below, read_data_set, read_pictures
from training.data.splits import hold_out
from training.errors import DataError


def picture(file: Path, value: int = 0, side: int = 8) -> None:
    """A small grey PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (value, value, value)).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, ten pictures each, whose grey is their number."""
    for label, name in enumerate(("cat", "dog")):
        for index in range(10):
            picture(tmp_path / "data" / name / f"{index}.png", 10 * label + index)
    return tmp_path / "data"


def test_empty_class_folders_are_named_all_at_once(tmp_path: Path) -> None:
    """Not one a run."""
    for name in ("cat", "dog", "eel"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "dog" / "0.png")
    with pytest.raises(DataError, match=r"No JPEG, PNG or WebP picture in class folder .*cat, .*eel; fill it"):
        read_data_set(tmp_path)


def test_class_folders_become_sorted_classes(folder: Path) -> None:
    """Labels follow the sorted folder names."""
    data = read_data_set(folder)
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0] * 10 + [1] * 10
    assert data.superclasses is None


def test_superclass_folders_give_a_taxonomy(tmp_path: Path) -> None:
    """Two levels of folders are super-classes of classes."""
    for path in ("pets/dog", "pets/cat", "wild/bear"):
        picture(tmp_path / path / "0.png")
    data = read_data_set(tmp_path)
    assert data.classes == ("bear", "cat", "dog")
    assert data.superclasses == {"pets": ["cat", "dog"], "wild": ["bear"]}
    assert tuple(data.paths) == ("wild/bear/0.png", "pets/cat/0.png", "pets/dog/0.png")


def test_a_bundles_order_of_classes_is_kept(folder: Path) -> None:
    """Labels index the order that is given, not the sorted one."""
    assert read_data_set(folder, ["dog", "owl", "cat"]).labels.tolist() == [2] * 10 + [0] * 10


def test_a_class_that_the_bundle_does_not_know_is_refused(folder: Path) -> None:
    """Evaluating on other classes would give meaningless accuracy."""
    with pytest.raises(DataError, match="'dog'"):
        read_data_set(folder, ["cat", "owl"])


def test_a_written_list_reads_back_as_the_same_pictures(folder: Path, tmp_path: Path) -> None:
    """The held-out list that `train` writes is a data set of the same pictures."""
    held_out = hold_out(read_data_set(folder), (0.3,), seed=0)[0]
    write_list(held_out.root, held_out.paths, held_out.labels, tmp_path / "list.txt")
    again = read_pictures(tmp_path / "list.txt")
    assert (again.labels == held_out.labels).all()
    written = [read_picture(again.root / path, height=8, width=8)[0, 0, 0] for path in again.paths]
    expected = [read_picture(held_out.root / path, height=8, width=8)[0, 0, 0] for path in held_out.paths]
    assert written == expected


def test_an_empty_class_folder_is_named(folder: Path) -> None:
    """A class without pictures is a mistake."""
    (folder / "owl").mkdir()
    with pytest.raises(DataError, match="owl"):
        read_data_set(folder)


@pytest.mark.parametrize("read", [read_data_set, read_pictures])
def test_a_missing_folder_is_named(tmp_path: Path, read: type[DataSet]) -> None:
    """The sentence names the folder."""
    with pytest.raises(DataError, match="nowhere"):
        read(tmp_path / "nowhere")  # type: ignore[call-arg]


def test_the_fingerprint_changes_with_labels_names_and_content(folder: Path) -> None:
    """What a bundle says it was trained on can be checked."""
    before = read_data_set(folder).fingerprint()
    assert read_data_set(folder).fingerprint() == before
    buffer = io.BytesIO()
    Image.effect_noise((8, 8), 50).save(buffer, "PNG")
    (folder / "cat" / "0.png").write_bytes(buffer.getvalue())
    assert read_data_set(folder).fingerprint() != before


def test_pictures_below_a_folder_come_in_one_order(tmp_path: Path) -> None:
    """By the parts of their paths, whatever order the disk has; a folder that cannot be listed is named."""
    for name in ("b/2.png", "b/1.JPG", "b.c/x.webp", "a.png", "c/d/e.jpeg", "c/notes.txt", "b/10.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list(pictures_below(tmp_path))
    assert found == ["a.png", "b/1.JPG", "b/10.png", "b/2.png", "b.c/x.webp", "c/d/e.jpeg"]
    with pytest.raises(DataError, match="nowhere"):
        next(pictures_below(tmp_path / "nowhere"))
