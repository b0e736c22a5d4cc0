"""Procedural pictures are foreign, varied, and functions of their index alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from PIL import Image

from training.data.pixels import Pixels
from training.data.procedural import FAMILIES, ProceduralPictures
from training.data.procedural.chance import generator_of
from training.data.procedural.own import blends, jigsaws, mosaics, scrambles
from training.data.procedural.pictures import OF_OWN, PAINTED, painted_visibly, weathered
from training.data.sets import DataSet, read_pictures
from training.errors import SettingError

SIDE = 32


def numbered(count: int, side: int = SIDE) -> Pixels:
    """Pictures (count, side, side, 3) of which every pixel has a colour of its own: its number in three bytes."""
    number = np.arange(count * side * side, dtype=np.uint32).reshape(count, side, side)
    return np.stack([number & 255, number >> 8 & 255, number >> 16], axis=-1).astype(np.uint8)


def numbers(picture: Pixels) -> np.ndarray:
    """The numbers of a numbered picture's pixels, wherever they are now."""
    red, green, blue = np.moveaxis(picture.astype(np.int64), -1, 0)
    return red + (green << 8) + (blue << 16)


def saved(pictures: Pixels, folder: Path) -> DataSet:
    """Pictures as a data set of PNG files, in order."""
    folder.mkdir()
    for place, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{place:03d}.png")
    return read_pictures(folder)


def generators(number: int) -> Iterator[Generator]:
    """The generators of the first pictures."""
    return (generator_of(0, index) for index in range(number))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Twelve numbered pictures as the user's own, their pixels shuffled: two ramps would blend into one grey."""
    pixels = numbered(12).reshape(12, SIDE * SIDE, 3)
    shuffled = pixels[:, np.random.default_rng(0).permutation(SIDE * SIDE)].reshape(12, SIDE, SIDE, 3)
    return saved(shuffled, tmp_path_factory.mktemp("own") / "pictures")


def test_a_picture_is_a_function_of_its_index_alone(own: DataSet) -> None:
    """The same alone, in another order and beside others."""
    pictures = ProceduralPictures(SIDE, 5, own)
    whole = pictures.read(np.arange(66))
    order = np.random.default_rng(0).permutation(66)
    assert np.array_equal(pictures.read(order), whole[order])
    for index in range(0, 66, 5):
        assert np.array_equal(ProceduralPictures(SIDE, 5, own).read(np.array([index]))[0], whole[index])


def test_another_seed_or_index_is_another_picture(own: DataSet) -> None:
    """No two pictures are alike."""
    read = [ProceduralPictures(SIDE, seed, own).read(np.arange(110)) for seed in (0, 1)]
    assert len(np.unique(np.concatenate(read).reshape(220, -1), axis=0)) == 220


def test_an_index_may_be_as_large_as_training_is_long(own: DataSet) -> None:
    """The numbers of pictures do not begin again after some billions."""
    pictures = ProceduralPictures(SIDE, 0, own)
    first, later = pictures.read(np.array([3, 3 + len(FAMILIES) * 2**40]))
    assert (first != later).any()


@pytest.mark.parametrize("side", [8, 33, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_pictures_of_any_side(family: str, side: int, own: DataSet) -> None:
    """Pixels of the asked size, and something to see on each."""
    read = ProceduralPictures(side, 0, own, (family,)).read(np.arange(40))
    assert read.shape == (40, side, side, 3)
    assert read.dtype == np.uint8
    assert (np.ptp(read.reshape(40, -1, 3), axis=1).max(axis=1) >= 4).all()


def test_no_picture_is_empty() -> None:
    """A dot may fall outside its picture, a few times in a thousand; then another is painted."""
    drawn = [PAINTED["text"](generator, SIDE) for generator in generators(2000)]
    empty = [index for index, picture in enumerate(drawn) if (picture == picture[0, 0]).all()]
    assert empty, "This test needs a case of it; give it more pictures."
    for index in empty:
        picture = painted_visibly("text", generator_of(0, index), SIDE)
        assert (picture != picture[0, 0]).any()


@pytest.mark.parametrize("family", PAINTED)
def test_families_are_grey_and_coloured_dark_and_light_faint_and_strong(family: str) -> None:
    """No family is known by its colours, its brightness or its contrast."""
    drawn = np.stack([PAINTED[family](generator, SIDE) for generator in generators(200)]).astype(float)
    grey = np.ptp(drawn, axis=3).max(axis=(1, 2)) <= 1
    assert 0.1 < grey.mean() < 0.9
    brightness, contrast = drawn.mean(axis=(1, 2, 3)), np.ptp(drawn.mean(axis=3).reshape(200, -1), axis=1)
    assert brightness.min() < 80
    assert brightness.max() > 175
    assert contrast.min() < 60
    assert contrast.max() > 180


def test_strokes_write_thin_signs_dark_on_light_and_light_on_dark() -> None:
    """Handwriting is often among them: nearly all of the picture is paper, and a little is ink far from it."""
    drawn = np.stack([PAINTED["strokes"](generator, 64).mean(axis=2) for generator in generators(300)])
    paper = np.median(drawn, axis=(1, 2))
    ink = drawn - paper[:, None, None]
    inked = {sign: (sign * ink > 80).mean(axis=(1, 2)) for sign in (-1, 1)}
    assert ((paper > 200) & (inked[-1] > 0.01) & (inked[-1] < 0.12)).mean() > 0.1
    assert ((paper < 55) & (inked[1] > 0.01) & (inked[1] < 0.12)).mean() > 0.03


def test_families_take_turns(tmp_path: Path) -> None:
    """Each family is as frequent as any other: of black own pictures, exactly those made of own ones are black."""
    black = saved(np.zeros((4, SIDE, SIDE, 3), np.uint8), tmp_path / "black")
    pictures = ProceduralPictures(SIDE, 0, black, ("mosaics", "gratings", "jigsaws", "blends", "scrambles"))
    read = pictures.read(np.arange(100)).reshape(20, 5, -1)
    dark = read.max(axis=2) <= 24  # grain alone
    assert dark[:, [0, 2, 3, 4]].all()
    assert not dark[:, 1].any()


def test_families_that_need_more_own_pictures_than_there_are_are_left_out(own: DataSet) -> None:
    """Without own pictures only what is made from nothing takes turns, and nothing else changes."""
    assert ProceduralPictures(SIDE, 0, None).taking_turns == tuple(PAINTED)
    assert ProceduralPictures(SIDE, 0, own.select(np.arange(1))).taking_turns == (*PAINTED, "jigsaws", "scrambles")
    assert ProceduralPictures(SIDE, 0, own).taking_turns == FAMILIES
    without, named = (ProceduralPictures(SIDE, 0, data, tuple(PAINTED)) for data in (None, own))
    assert np.array_equal(without.read(np.arange(14)), named.read(np.arange(14)))


def test_own_pictures_are_those_of_the_data_set(own: DataSet) -> None:
    """What is given may be used, all of it, and nothing else: a picture held out of `data` is never seen."""
    given = np.array([1, 4, 6, 9])
    read = numbers(ProceduralPictures(SIDE, 0, own.select(given), ("mosaics", "jigsaws")).read(np.arange(60)))
    source = read.reshape(60, -1) // SIDE**2
    untouched = np.isin(source, given).all(axis=1)  # neither blurred nor grained
    assert untouched.sum() > 20
    assert set(source[untouched].ravel().tolist()) == set(given.tolist())


def test_mosaics_are_of_patches_of_several_pictures() -> None:
    """Most neighbours are neighbours in an own picture, and all three pictures are found again."""
    for generator in generators(20):
        found = numbers(mosaics(generator, numbered(3)))
        assert found.max() < 3 * SIDE**2
        step = abs(np.diff(found, axis=1))
        assert 0.7 < np.isin(step, [1, SIDE]).mean() < 1
    sources = {
        int(number) // SIDE**2
        for generator in generators(5)
        for number in numbers(mosaics(generator, numbered(3))).flat
    }
    assert sources == {0, 1, 2}


def test_jigsaws_leave_no_piece_in_its_place() -> None:
    """All pixels are the picture's, next to their neighbours, and elsewhere."""
    for generator in generators(40):
        picture = numbered(1, 48)
        found = numbers(jigsaws(generator, picture))
        assert found.max() < 48**2
        assert np.isin(abs(np.diff(found, axis=1)), [1, 48]).mean() > 0.7
        assert (found == numbers(picture[0])).mean() < 0.05
        assert len(np.unique(found)) > 0.7 * 48**2


def test_blends_of_two_shots_of_one_thing_are_not_a_third() -> None:
    """Bursts are common in users' data, and their average would be a picture of the class."""
    ramp = np.broadcast_to(np.arange(SIDE, dtype=np.uint8)[:, None, None] * 8, (2, SIDE, SIDE, 3))
    for generator in generators(40):
        assert abs(blends(generator, ramp).astype(int) - ramp[0]).mean() > 20


def test_no_picture_is_blended_with_itself(tmp_path: Path) -> None:
    """Of a red and a blue picture each blend shows both: a picture beside itself would be one of its class."""
    two = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    two[0, ..., 0] = two[1, ..., 2] = 255
    read = ProceduralPictures(SIDE, 0, saved(two, tmp_path / "two"), ("blends",)).read(np.arange(60))
    assert (read[..., [0, 2]].max(axis=(1, 2)) > 60).all()


def test_scrambles_keep_colours_and_lose_things() -> None:
    """The mean colour stays and the bright square is gone."""
    square = np.full((1, SIDE, SIDE, 3), (60, 90, 120), np.uint8)
    square[0, 8:16, 8:16] += 60
    for generator in generators(20):
        scrambled = scrambles(generator, square).astype(float)
        assert np.allclose(scrambled.mean(axis=(0, 1)), square[0].mean(axis=(0, 1)), atol=2)
        assert abs(scrambled - square[0]).mean() > 8


def test_half_of_all_pictures_are_weathered(own: DataSet) -> None:
    """Sharpness is no cue: pictures of every family are softened or grained at times, and left alone at times."""
    picture = numbered(1)[0]
    same = [np.array_equal(weathered(picture, generator), picture) for generator in generators(300)]
    assert 0.43 < np.mean(same) < 0.63


def test_an_unknown_family_is_named() -> None:
    """With those that there are."""
    with pytest.raises(SettingError, match=r"called 'cats'; choose from noise, .*scrambles\."):
        ProceduralPictures(SIDE, 0, None, ("noise", "cats"))


@pytest.mark.parametrize("families", [(), tuple(OF_OWN)])
def test_nothing_to_make_pictures_of_is_an_error(families: tuple[str, ...]) -> None:
    """It is said at the start and not in a worker later."""
    with pytest.raises(SettingError, match=r"No procedural picture can be made of .* choose one of noise"):
        ProceduralPictures(SIDE, 0, None, families)
