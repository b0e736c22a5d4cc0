"""Foreign pictures: from folders, lists and nothing, each read as it lies."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.preprocess import JpegScale, decode
from tests.tiny_bundle import rough_jpeg
from training.data.outliers import PROCEDURAL, Procedural, read_outliers
from training.data.sets import read_pictures
from training.errors import DataError, SettingError

JPEG_SCALES: tuple[JpegScale, ...] = ("full", "reduced")


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Two folders of pictures whose grey says where they lie: 10, 11, 12 and 20, 21."""
    for folder, greys in (("a", (10, 11, 12)), ("b", (20, 21))):
        (tmp_path / folder).mkdir()
        for grey in greys:
            Image.new("RGB", (6, 6), (grey,) * 3).save(tmp_path / folder / f"{grey}.png")
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_several_folders_are_read_as_one(folders: list[str]) -> None:
    """Rows count through all of them, in any order and number."""
    photographs = read_outliers(folders).photographs
    assert photographs is not None
    assert len(photographs) == 5
    assert photographs.read(np.array([4, 0, 2, 3]), 4)[:, 0, 0, 0].tolist() == [21, 10, 12, 20]
    assert [Path(path).name for path in photographs.paths()] == ["10.png", "11.png", "12.png", "20.png", "21.png"]


def test_foreign_jpegs_are_read_at_the_runs_scale(tmp_path: Path) -> None:
    """Photographs, and the own pictures that others are made of."""
    (tmp_path / "large.jpg").write_bytes(rough_jpeg())
    photographs = read_outliers([str(tmp_path)], "reduced").photographs
    assert photographs is not None
    expected = decode(rough_jpeg(), height=8, width=8, jpeg_scale="reduced")
    assert (photographs.read(np.array([0]), 8)[0] == expected).all()
    full, reduced = (
        Procedural(9, 0, read_pictures(tmp_path), ("jigsaws",), scale).read(np.arange(9), 8) for scale in JPEG_SCALES
    )
    assert (full != reduced).any()


def test_the_fingerprint_tells_of_every_folder(folders: list[str]) -> None:
    """One picture more in the second folder is another fingerprint."""
    first, second = read_outliers(folders).photographs, read_outliers(folders[:1]).photographs
    assert first is not None
    assert second is not None
    assert first.fingerprint() != second.fingerprint()


def test_a_batch_has_its_share_of_each_kind(folders: list[str]) -> None:
    """Photographs alone, procedural pictures alone, or a fifth of procedural ones beside photographs."""
    made = Procedural(100, 0, read_pictures(Path(folders[0])))
    assert read_outliers([]).kinds(10, made) == []
    assert [count for _, count in read_outliers(folders).kinds(10, made)] == [10]
    assert [count for _, count in read_outliers([PROCEDURAL]).kinds(10, made)] == [10]
    assert [count for _, count in read_outliers([*folders, PROCEDURAL]).kinds(10, made)] == [8, 2]


def test_nothing_named_is_nothing(folders: list[str]) -> None:
    """A run without outliers asks by truth."""
    assert not read_outliers([])
    assert read_outliers([PROCEDURAL])
    assert read_outliers(folders)


def test_a_source_named_twice_and_an_empty_one_are_refused(folders: list[str], tmp_path: Path) -> None:
    """Twice would double its weight unseen."""
    with pytest.raises(SettingError, match="named twice"):
        read_outliers([folders[0], folders[0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no JPEG, PNG or WebP"):
        read_outliers([str(tmp_path / "empty")])
