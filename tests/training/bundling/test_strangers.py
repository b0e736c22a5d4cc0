"""Strangers are judged as they are, and as if they had been stored at the size of one's own pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.bundle import Bundle
from training.bundling.strangers import judge_strangers, read_strangers
from training.data.sets import DataSet, read_pictures
from training.scoring.pictures import score_pictures

RIGHT_TURNED = 6  # EXIF: the picture is shown turned to the right


@pytest.fixture
def own(tmp_path: Path) -> DataSet:
    """Pictures whose short sides are 10, 12 and 90 pixels: the median is 12."""
    (tmp_path / "own").mkdir()
    for index, size in enumerate([(10, 40), (30, 12), (90, 95)]):
        Image.new("RGB", size, "red").save(tmp_path / "own" / f"{index}.png")
    return read_pictures(tmp_path / "own")


def write_noise(folder: Path, *sizes: tuple[int, int]) -> Path:
    """A folder of sharp pictures, (width, height) each, some of them turned by their EXIF block."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for index, (width, height) in enumerate(sizes):
        coarse = Image.fromarray(generator.integers(0, 256, (5, 7, 3), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = RIGHT_TURNED if index % 2 else 1
        coarse.resize((width, height), Image.Resampling.NEAREST).save(folder / f"{index}.png", exif=exif)
    return folder


def scores(bundle: Bundle, folder: Path) -> list[float]:
    """The scores of a folder's pictures, as they are."""
    return [float(score) for score in score_pictures(bundle, read_pictures(folder), ["score"])["score"]]


def test_a_sharp_stranger_is_judged_as_if_stored_small(tiny_bundle: Bundle, own: DataSet, tmp_path: Path) -> None:
    """Scaled scores are those of the upright pictures saved with a short side of 12 pixels."""
    folder = write_noise(tmp_path / "s", (60, 48), (100, 36))
    small = tmp_path / "small"
    small.mkdir()
    for index, size in enumerate([(15, 12), (12, 33)]):
        with Image.open(folder / f"{index}.png") as picture:
            upright = picture.transpose(Image.Transpose.ROTATE_270) if index % 2 else picture
            upright.resize(size, Image.Resampling.BILINEAR).save(small / f"{index}.png")
    judged = judge_strangers(tiny_bundle, read_strangers({"s": folder}), own)
    assert judged.told.short_side_pixels == 12
    assert judged.as_is["s"].scores.tolist() == scores(tiny_bundle, folder)
    assert judged.scaled["s"].scores.tolist() == scores(tiny_bundle, small)
    assert np.all(judged.scaled["s"].scores != judged.as_is["s"].scores)


def test_a_small_stranger_is_never_enlarged(tiny_bundle: Bundle, own: DataSet, tmp_path: Path) -> None:
    """Its two scores are the same, and it is counted as smaller than one's own."""
    judged = judge_strangers(tiny_bundle, read_strangers({"s": write_noise(tmp_path / "s", (11, 50), (12, 40))}), own)
    assert judged.scaled["s"].scores.tolist() == judged.as_is["s"].scores.tolist()
    told = judged.told.sets["s"]
    assert (told.scaled_down, told.smaller) == (0, 1)


def test_sets_of_large_and_small_pictures_keep_the_small_as_they_are(
    tiny_bundle: Bundle, own: DataSet, tmp_path: Path
) -> None:
    """Only what is larger changes, and each set says how many were."""
    judged = judge_strangers(tiny_bundle, read_strangers({"s": write_noise(tmp_path / "s", (9, 9), (90, 60))}), own)
    assert (judged.scaled["s"].scores != judged.as_is["s"].scores).tolist() == [False, True]
    assert judged.told.sets["s"].scaled_down == 1
    assert judged.told.sets["s"].data == read_pictures(tmp_path / "s").fingerprint()
