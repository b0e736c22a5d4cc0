"""A teacher answers about the very pictures that its pupil sees, at its own size, and only about its own classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.errors import SettingError
from training.fitting.run import load_run
from training.fitting.teacher import Teacher, read_teacher


def pictures(side: int) -> Tensor:
    """Random ones, uint8 (5, side, side, 3)."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, side, side, 3), np.uint8))


@pytest.fixture(scope="module")
def teacher(finished_run: Path) -> Teacher:
    """The small run's network, which takes 32 pixels."""
    return read_teacher(finished_run, load_run(finished_run).classes)


def flat_logits(teacher: Teacher, images: Tensor) -> Tensor:
    """Of pictures at the teacher's size, in float32."""
    with torch.no_grad():
        return teacher.network.flat(teacher.network(images))


@pytest.mark.numeric
def test_pictures_of_its_own_size_go_in_as_they_are(teacher: Teacher) -> None:
    """Its flat logits, to bfloat16's two digits."""
    expected = flat_logits(teacher, pictures(32))
    answer = teacher.logits(pictures(32))
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))
    assert expected.std(dim=0).max() > 0, "answers that are all alike prove nothing"


@pytest.mark.numeric
@pytest.mark.parametrize("side", [16, 64])
def test_others_are_brought_to_its_size(teacher: Teacher, side: int) -> None:
    """Enlarged or shrunk as bilinear resizing does, antialiased where it shrinks."""
    planes = pictures(side).permute(0, 3, 1, 2).float()
    resized = F.interpolate(planes, (32, 32), mode="bilinear", antialias=side > 32).permute(0, 2, 3, 1)
    answer = teacher.logits(pictures(side))
    torch.testing.assert_close(answer, teacher.logits(resized), rtol=1e-3, atol=1e-3)
    assert teacher.side == 32


def test_a_teacher_is_not_fitted(teacher: Teacher) -> None:
    """It has no gradient, whoever asks."""
    assert not teacher.logits(pictures(32).float()).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


@pytest.mark.parametrize("change", ["fewer", "another order"])
def test_a_teacher_of_other_classes_is_refused(finished_run: Path, change: str) -> None:
    """Its answers would be read as those of other classes."""
    classes = load_run(finished_run).classes
    asked = classes[1:] if change == "fewer" else classes[::-1]
    with pytest.raises(SettingError, match="knows other classes; name a run on the same data set"):
        read_teacher(finished_run, asked)
