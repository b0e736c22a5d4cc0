"""What guards are fitted on and judged by: classes that do not overlap, their own pictures, foreign ones."""

import numpy as np
import pytest
from PIL import Image

from training.data.pixels import Pictures, read_picture
from training.data.procedural import FAMILIES
from training.data.sets import DataSet, read_data_set
from training.studies.guard_material import (
    Scaled,
    at_most,
    draw_classes,
    foreign_kinds,
    own_pictures,
    own_side,
)

CLASSES, EACH = 6, 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Noise of 24 by 30 pixels, so that nothing is a near copy."""
    folder, generator = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir()
        for number in range(EACH):
            noise = generator.integers(0, 256, (24, 30, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"class {label}" / f"{number:02}.png")
    return read_data_set(folder)


def test_drawn_classes_share_none_and_leave_none_out() -> None:
    """What is judged by is neither known nor fitted with; another seed draws others."""
    drawn = draw_classes(97, 0)
    assert sorted(np.concatenate(drawn).tolist()) == list(range(97))
    assert [len(classes) for classes in drawn] == [30, 10, 40, 17]
    assert set(drawn.known.tolist()) != set(draw_classes(97, 1).known.tolist())


def test_own_pictures_are_of_their_classes_in_the_order_drawn(data: DataSet) -> None:
    """Labels are places among the drawn classes, and features follow the pictures."""
    classes = np.array([4, 1, 5])
    features = np.random.default_rng(0).standard_normal((len(data), 64)).astype(np.float32)
    features[:, 0] = data.labels
    own = own_pictures(data, features, classes, 0)
    pictures = own.pictures(features, [(features[:7], 3)])
    assert (classes[pictures.labels] == pictures.views[0, :, 0]).all()
    parts = np.concatenate([pictures.fitted, pictures.validation, pictures.calibration])
    assert sorted(parts.tolist()) == list(range(3 * EACH))
    assert [(views.shape, count) for views, count in pictures.foreign] == [((1, 7, 64), 3)]
    assert {path.split("/")[0] for path in own.parts.whole.select(np.flatnonzero(pictures.labels == 0)).paths} == {
        "class 4"
    }


def test_each_family_is_left_out_and_alone() -> None:
    """Pictures of all families in turn are parted by family, and nothing is lost."""
    made = np.arange(4 * len(FAMILIES), dtype=np.float32)[:, None]
    kinds = foreign_kinds(made, np.full((5, 1), -1, np.float32))
    for place, family in enumerate(FAMILIES):
        alone, without = kinds[f"{family} alone"][0][0], kinds[f"without {family}"][0][0]
        assert (alone % len(FAMILIES) == place).all()
        assert sorted(np.concatenate([alone, without])[:, 0].tolist()) == made[:, 0].tolist()


def test_every_kind_has_as_many_foreign_pictures_a_step() -> None:
    """So that guards differ in what is foreign and not in how much of it."""
    kinds = foreign_kinds(np.zeros((22, 1), np.float32), np.ones((5, 1), np.float32))
    assert {sum(count for _, count in kind) for kind in kinds.values() if kind} == {64}
    assert len(kinds["both"]) == 2


def test_scaled_pictures_are_read_as_smaller_ones_and_say_so(data: DataSet) -> None:
    """A cache of one size is refused for another."""
    scaled = Scaled(data, 12)
    expected = read_picture(data.root / data.paths[3], height=16, width=16, short_side=12)
    assert (scaled.read(np.array([3]), 16)[0] == expected).all()
    assert (expected != Pictures(data).read(np.array([3]), 16)[0]).any()
    assert scaled.fingerprint() != Scaled(data, 13).fingerprint()


def test_no_class_keeps_more_than_it_may_and_pictures_tell_their_size(data: DataSet) -> None:
    """Capped by class; the short side is that of the pictures."""
    assert np.bincount(at_most(data, 7).labels).tolist() == [7] * CLASSES
    assert own_side(data) == 24
