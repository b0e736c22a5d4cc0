"""No picture sets a threshold that was fitted on, and none counts twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.bundle import Bundle, read_bundle
from training.bundling.admission import admit, fitted_file
from training.data.sets import DataSet, read_pictures
from training.errors import DataError
from training.fitting.run import load_run


def write_pictures(folder: Path, numbers: range) -> DataSet:
    """A picture of its own for each number."""
    folder.mkdir()
    for number in numbers:
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number:02}.png")
    return read_pictures(folder)


def bundle_of(tiny_bundle: Bundle, folder: Path, fitted: DataSet | None) -> Bundle:
    """The tiny bundle, which knows what it was fitted on."""
    path = shutil.copytree(tiny_bundle.path, folder / "bundle")
    if fitted is not None:
        (path / "fitted.npz").write_bytes(fitted_file(fitted))
    return read_bundle(path)


def test_fitted_pictures_are_refused_whatever_they_are_called(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The first ten are named, the others counted, with what to do."""
    fitted = write_pictures(tmp_path / "fitted", range(30))
    data = write_pictures(tmp_path / "data", range(18, 40))
    for file in sorted(data.root.iterdir()):
        file.rename(file.with_name(f"renamed-{file.name}"))
    with pytest.raises(DataError, match=r"^12 of 22 pictures") as refused:
        admit(read_pictures(data.root), bundle_of(tiny_bundle, tmp_path, fitted))
    assert "renamed-18.png, " in str(refused.value)
    assert "renamed-27.png and 2 more; " in str(refused.value)
    assert "take them out" in str(refused.value)


def test_other_pictures_pass_and_are_told_what_they_were_compared_with(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """All of them, in their order."""
    bundle = bundle_of(tiny_bundle, tmp_path, write_pictures(tmp_path / "fitted", range(30)))
    data = write_pictures(tmp_path / "data", range(30, 40))
    admitted = admit(data, bundle)
    assert list(admitted.data.paths) == list(data.paths)
    assert admitted.about["fitted_pictures_compared"] == 30
    assert admitted.about["repeats_left_out"] == 0
    assert admitted.about["n"] == 10


def test_a_picture_that_is_there_again_counts_once(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first of them stays, and all are named."""
    data = write_pictures(tmp_path / "data", range(5))
    shutil.copy(data.root / "03.png", data.root / "00-again.png")
    admitted = admit(read_pictures(data.root), tiny_bundle)
    assert list(admitted.data.paths) == ["00-again.png", "00.png", "01.png", "02.png", "04.png"]
    assert admitted.rows.tolist() == [0, 1, 2, 3, 5]
    assert admitted.about["repeats_left_out"] == 1
    assert "once: 00-again.png = 03.png" in capsys.readouterr().err


def test_a_bundle_that_does_not_know_its_pictures_says_so(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of earlier releases."""
    admitted = admit(write_pictures(tmp_path / "data", range(3)), tiny_bundle)
    assert admitted.about["fitted_pictures_compared"] is None
    assert "cannot be told" in capsys.readouterr().err


def test_a_damaged_file_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """It might have named the pictures."""
    data = write_pictures(tmp_path / "data", range(3))
    bundle = bundle_of(tiny_bundle, tmp_path, data)
    for content in (b"", b"npz", (bundle.path / "fitted.npz").read_bytes()[:-30]):
        (bundle.path / "fitted.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"fitted\.npz is damaged"):
            admit(data, bundle)


def test_the_file_takes_eight_bytes_a_picture(tmp_path: Path) -> None:
    """And some for its frame; copies are one picture."""
    data = write_pictures(tmp_path / "data", range(200))
    whole = len(fitted_file(data))
    assert 8 * 200 < whole < 8 * 200 + 500
    shutil.copy(data.root / "03.png", data.root / "again.png")
    assert len(fitted_file(read_pictures(data.root))) == whole


def test_a_picture_that_cannot_be_read_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Before anything is scored."""
    data = write_pictures(tmp_path / "data", range(3))
    (data.root / "01.png").unlink()
    with pytest.raises(DataError, match=r"01\.png cannot be read"):
        admit(data, tiny_bundle)


def test_an_export_knows_what_was_fitted_and_not_what_was_held_out(exported: Bundle, finished_run: Path) -> None:
    """The run's own calibration and validation pictures may set the threshold."""
    parts = load_run(finished_run).split()
    with np.load(exported.path / "fitted.npz") as saved:
        assert len(saved["content"]) == len(parts.fitted)
    for held_out in (parts.calibration, parts.validation):
        assert admit(held_out, exported).about["fitted_pictures_compared"] == len(parts.fitted)
    with pytest.raises(DataError, match=f"^{len(parts.fitted)} of {len(parts.whole)} pictures"):
        admit(parts.whole, exported)
