"""The survey: every picture once, and what cannot be read is noted, not raised."""

from pathlib import Path

import numpy as np
from PIL import Image

from training.data.sets import read_data_set
from training.data.survey import survey


def test_a_survey_tells_content_looks_and_what_cannot_be_read(tmp_path: Path) -> None:
    """One hash a content, whatever the name; grey thumbnails; reasons by row."""
    (tmp_path / "cat").mkdir()
    for name, colour in (("a", (255, 255, 255)), ("b", (255, 0, 0)), ("c", (255, 255, 255))):
        Image.new("RGB", (20, 30), colour).save(tmp_path / "cat" / f"{name}.png")
    (tmp_path / "cat" / "d.png").write_bytes(b"broken")
    seen = survey(read_data_set(tmp_path))
    assert seen.hashes[0] == seen.hashes[2] != seen.hashes[1]
    assert seen.thumbnails.reshape(4, -1).mean(axis=1).tolist() == [255, 76, 255, 0]
    assert list(seen.unreadable) == [3]


def test_pictures_of_several_chunks_stay_in_order(tmp_path: Path, monkeypatch) -> None:
    """Row by row."""
    (tmp_path / "cat").mkdir()
    for number in range(10):
        Image.new("RGB", (4, 4), (20 * number,) * 3).save(tmp_path / "cat" / f"{number}.png")
    monkeypatch.setattr("training.data.contents.CHUNK", 3)
    assert (survey(read_data_set(tmp_path)).thumbnails[:, 0, 0] == 20 * np.arange(10)).all()
