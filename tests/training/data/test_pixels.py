"""Pixels: the service's own, in the order asked for, from files and from shards, and nothing is kept."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.preprocess import JpegScale, decode, load, squash
from tests.tiny_bundle import rough_jpeg
from training.data.pixels import Pictures, picture_size, read_ahead, read_picture, read_rows, scaled_down, short_sides
from training.data.sets import read_data_set, read_pictures
from training.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One class of ten pictures whose grey is ten times their number."""
    (tmp_path / "cat").mkdir()
    for index in range(10):
        Image.new("RGB", (8, 6), (10 * index,) * 3).save(tmp_path / "cat" / f"{index}.png")
    return tmp_path


def test_pictures_come_in_the_order_asked_for(folder: Path) -> None:
    """At the asked size, as RGB; a row may be asked for twice."""
    pixels = read_rows(read_data_set(folder), [7, 0, 7], height=4, width=5)
    assert pixels.shape == (3, 4, 5, 3)
    assert pixels[:, 0, 0, 0].tolist() == [70, 0, 70]


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_reading_ahead_gives_every_picture_once_in_order(folder: Path, batch_size: int) -> None:
    """Batches of one size, the last one shorter."""
    batches = list(read_ahead(read_data_set(folder), batch_size, height=4, width=4))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == [10 * index for index in range(10)]


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n then nothing"])
def test_an_unreadable_picture_is_named(folder: Path, content: bytes) -> None:
    """One bad file stops with its name; it is never replaced or skipped in silence."""
    (folder / "cat" / "3.png").write_bytes(content)
    data = read_data_set(folder)
    with pytest.raises(DataError, match=r"cat.3\.png"):
        read_rows(data, range(10), height=4, width=4)
    with pytest.raises(DataError, match=r"cat.3\.png"):
        list(read_ahead(data, 4, height=4, width=4))


def test_a_picture_inside_a_shard_is_read_from_its_bytes_alone(folder: Path, tmp_path: Path) -> None:
    """The same pixels and the same size as the file that was packed, and not its neighbour's."""
    shard = tmp_path / "shards" / "a.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as archive:
        for index in (4, 9):
            archive.add(folder / "cat" / f"{index}.png", f"{index}.png")
    data = read_pictures(shard.parent)
    for path, index in zip(data.paths, (4, 9), strict=True):
        packed, plain = data.root / path, folder / "cat" / f"{index}.png"
        assert (read_picture(packed, height=3, width=3) == read_picture(plain, height=3, width=3)).all()
        assert picture_size(packed) == (6, 8)


def test_a_shard_that_was_cut_off_after_it_was_indexed_names_the_picture(folder: Path, tmp_path: Path) -> None:
    """Fewer bytes than the index says are a damaged picture, not another one."""
    shard = tmp_path / "shards" / "a.tar"
    shard.parent.mkdir()
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(picture, "PNG")
    (folder / "cat" / "noise.png").write_bytes(picture.getvalue())
    with tarfile.open(shard, "w") as archive:
        archive.add(folder / "cat" / "noise.png", "noise.png")
    data = read_pictures(shard.parent)
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"noise\.png"):
        read_rows(data, [0], height=4, width=4)


@pytest.mark.parametrize("jpeg_scale", ["full", "reduced"])
def test_jpegs_are_read_at_the_scale_asked_for(tmp_path: Path, jpeg_scale: JpegScale) -> None:
    """In whatever way they are read; one that is to come as if it were smaller is scaled down from all its pixels."""
    (tmp_path / "large.jpg").write_bytes(rough_jpeg())
    data = read_pictures(tmp_path)
    size: dict[str, Any] = {"height": 8, "width": 8, "jpeg_scale": jpeg_scale}
    expected = decode(rough_jpeg(), **size)
    assert (read_rows(data, [0], **size)[0] == expected).all()
    assert (Pictures(data, jpeg_scale).read(np.array([0]), 8)[0] == expected).all()
    assert (next(read_ahead(data, 1, **size))[0] == expected).all()
    assert (next(read_ahead(data, 1, **size, short_side=70))[0] == expected).all()
    smaller = squash(scaled_down(load(rough_jpeg()), 69), height=8, width=8)
    assert (next(read_ahead(data, 1, **size, short_side=69))[0] == smaller).all()


def test_a_picture_is_scaled_down_in_its_proportions_and_never_up() -> None:
    """Both sides by one factor, none to nothing; one that is small enough is the same object."""
    picture = Image.new("RGB", (300, 60))
    assert scaled_down(picture, 20).size == (100, 20)
    assert scaled_down(Image.new("RGB", (30, 6000)), 10).size == (10, 2000)
    assert scaled_down(picture, 60) is picture
    assert scaled_down(picture, 61) is picture


def test_scaling_down_takes_the_detail_away(tmp_path: Path) -> None:
    """A board of black and white squares is a board at its own size, and grey from a single pixel."""
    board = np.kron([[0, 255], [255, 0]], np.ones((8, 8))).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    as_it_is, scaled = (read_picture(tmp_path / "board.png", height=2, width=2, short_side=s) for s in (None, 1))
    assert np.ptp(as_it_is) > 100
    assert np.ptp(scaled) == 0


def test_short_sides_are_those_of_the_headers(tmp_path: Path) -> None:
    """The smaller of height and width, in the set's order."""
    for index, size in enumerate([(8, 6), (5, 9), (4, 4)]):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    assert short_sides(read_pictures(tmp_path)).tolist() == [6, 5, 4]
