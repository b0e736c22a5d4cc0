"""`train` ends with a threshold, or with a sentence on why there is none; either way with what comes next."""

from pathlib import Path

import numpy as np
import pytest

from service.bundle import read_bundle
from tests.tiny_bundle import write_tiny_bundle
from training.commands.first_calibration import calibrate_or_say
from training.data.lists import write_list
from training.data.paths import Paths
from training.data.sets import read_pictures


def bundle_and_held_out(demo_data: dict[str, Path], folder: Path, count: int) -> tuple[Path, Path]:
    """A bundle without a threshold, and a list of so many pictures."""
    bundle = write_tiny_bundle(folder / "bundle", calibrated=False)
    pictures, no_labels = read_pictures(demo_data["test"]), np.zeros(count, np.int64)
    write_list(pictures.root, Paths.of(list(pictures.paths)[:count]), no_labels, folder / "held_out.txt")
    return bundle.path, folder / "held_out.txt"


def test_enough_pictures_calibrate_the_bundle(
    demo_data: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fifty-nine are the least; the threshold is said, and the commands that come next name what is here."""
    bundle, held_out = bundle_and_held_out(demo_data, tmp_path, 59)
    calibrate_or_say(bundle, held_out)
    calibration = read_bundle(bundle).calibration
    assert calibration is not None
    assert (calibration.n, calibration.k, calibration.tpr, calibration.confidence) == (59, 1, 0.95, 0.95)
    said = capsys.readouterr().err
    assert f"calibrated on 59 held-out pictures: threshold {calibration.threshold:.6f}" in said
    assert f"mos-guard calibrate --bundle {bundle} --data {held_out} --strangers NAME=FOLDER" in said
    assert f"MOS_BUNDLE={bundle} python -m service" in said


@pytest.mark.parametrize("count", [0, 58])
def test_too_few_pictures_are_said_and_nothing_is_promised(
    demo_data: dict[str, Path], tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle stays as it was; how many are missing and what to run are named."""
    bundle, held_out = bundle_and_held_out(demo_data, tmp_path, count)
    calibrate_or_say(bundle, held_out)
    assert read_bundle(bundle).calibration is None
    said = capsys.readouterr().err
    assert f"not calibrated: {count} pictures were held out, and a threshold needs 59" in said
    assert f"mos-guard calibrate --bundle {bundle} --data FOLDER" in said
