"""Pictures as pixels: the service's own, in order, from memory or from disk."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.pixels import Pictures
from training.data.sets import read_data_set, with_substitutes
from training.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One class of ten pictures whose grey is ten times their number."""
    (tmp_path / "cat").mkdir()
    for index in range(10):
        Image.new("RGB", (8, 6), (10 * index,) * 3).save(tmp_path / "cat" / f"{index}.png")
    return tmp_path


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_pictures_come_in_the_order_asked_for(folder: Path, memory_bytes: int) -> None:
    """At the asked size, as RGB, wherever they are kept."""
    pictures = Pictures(read_data_set(folder), 4, memory_bytes=memory_bytes)
    assert pictures.in_memory == (memory_bytes > 0)
    chosen = pictures.at(np.array([7, 0, 7]))
    assert chosen.shape == (3, 4, 4, 3)
    assert chosen[:, 0, 0, 0].tolist() == [70, 0, 70]


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n then nothing"])
def test_an_unreadable_picture_is_named(folder: Path, content: bytes) -> None:
    """One bad file stops with its name; it is never replaced or skipped in silence."""
    (folder / "cat" / "3.png").write_bytes(content)
    with pytest.raises(DataError, match=r"cat.3\.png"):
        Pictures(read_data_set(folder), 4)


def test_the_authors_code_shows_another_picture_instead(folder: Path) -> None:
    """Defect B5 is repeated on request: the place of a broken picture holds one of the others, with its label."""
    (folder / "dog").mkdir()
    for index in range(10):
        (folder / "cat" / f"{index}.png").rename(folder / "dog" / f"{index}.png")
        Image.new("RGB", (8, 6), (255 - index,) * 3).save(folder / "cat" / f"{index}.png")
    (folder / "cat" / "3.png").write_bytes(b"broken")
    data = with_substitutes(read_data_set(folder), seed=0)
    shown = Pictures(data, 4).at(np.arange(20))[:, 0, 0, 0]
    assert shown[3] != 255 - 3
    assert (data.labels == (shown < 128)).all()
    assert np.delete(shown, 3).tolist() == [255 - i for i in range(10) if i != 3] + [10 * i for i in range(10)]
