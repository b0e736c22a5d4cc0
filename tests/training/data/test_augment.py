"""Augmentation moves, mirrors and cuts; it never invents."""

import pytest
import torch

from training.data.augment import AUGMENTATIONS, GREY, crop, draw_crop, share_of


def generator() -> torch.Generator:
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(3)


def augmented(name: str, images: torch.Tensor) -> torch.Tensor:
    """Pictures after an augmentation, drawn for all of them."""
    augmentation = AUGMENTATIONS[name]
    return augmentation.apply(images, augmentation.draw(len(images), images.shape[1], generator()))


def cropped(images: torch.Tensor, side: int) -> torch.Tensor:
    """Pictures after a crop, drawn for all of them."""
    return crop(images, side, draw_crop(len(images), images.shape[1], side, generator()))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_is_a_function_of_the_generators_seed(name: str) -> None:
    """The same seed gives the same pictures, and the input is left alone."""
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    before = images.clone()
    assert torch.equal(augmented(name, images), augmented(name, images))
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_share_of_a_batch_is_augmented_as_in_the_whole(name: str) -> None:
    """What is drawn for a picture does not depend on which process applies it, or beside which others."""
    images = torch.randint(0, 256, (9, 16, 16, 3), dtype=torch.uint8)
    whole = augmented(name, images)
    draws = AUGMENTATIONS[name].draw(9, 16, generator())
    for share in (torch.tensor([0, 3, 6]), torch.tensor([8, 1])):
        assert torch.equal(AUGMENTATIONS[name].apply(images[share], share_of(draws, share)), whole[share])


def test_every_pixel_is_from_the_picture_or_the_hole() -> None:
    """Pictures of one colour keep it everywhere but in a hole of at most a quarter by a quarter."""
    images = torch.arange(16, dtype=torch.uint8)[:, None, None, None].expand(16, 32, 32, 3).contiguous()
    out = augmented("standard", images)
    hole = (out == GREY).all(dim=3)
    assert ((out == images).all(dim=3) | hole).all()
    assert hole.sum(dim=(1, 2)).max() == 8 * 8
    assert hole.sum(dim=(1, 2)).min() >= 4 * 4


def test_pictures_shift_and_mirror_independently() -> None:
    """A column ramp comes back rising or falling, shifted by at most an eighth of the side."""
    ramp = (torch.arange(32, dtype=torch.uint8) * 3)[None, None, :, None].expand(64, 32, 32, 3).contiguous()
    out = augmented("standard", ramp).float()
    row = out[:, :, :, 0].median(dim=1).values  # the hole is under half of the rows
    rising = row[:, 20] > row[:, 11]
    assert 16 < rising.sum() < 48
    shift = (row[:, 16] / 3 - 15.5).abs()
    assert shift.max() <= 4.5
    assert len(shift.unique()) > 4


def test_strong_augmentation_leaves_a_quarter_of_the_pictures_to_the_standard_one() -> None:
    """Half are warped and half recoloured, independently: of pictures of one colour, half keep it outside the hole."""
    images = torch.full((400, 16, 16, 3), 200, dtype=torch.uint8)
    images[..., 2] = 80
    out = augmented("strong", images)
    kept = ((out == images) | (out == GREY)).all(dim=3).all(dim=2).all(dim=1)
    assert 150 < kept.sum() < 250


def test_a_crop_is_a_window_of_the_picture() -> None:
    """D5: contiguous rows and columns, drawn anywhere inside; a picture of the right size is left alone."""
    numbered = torch.arange(36, dtype=torch.uint8).view(1, 6, 6, 1).expand(200, 6, 6, 3).contiguous()
    out = cropped(numbered, 4)[..., 0].int()
    assert out.shape == (200, 4, 4)
    assert ((out[:, :, 1:] - out[:, :, :-1]) == 1).all()
    assert ((out[:, 1:] - out[:, :-1]) == 6).all()
    assert set(out[:, 0, 0].tolist()) == {row * 6 + column for row in range(3) for column in range(3)}
    assert torch.equal(cropped(numbered, 6), numbered)


def test_a_flip_mirrors_half_of_the_pictures() -> None:
    """Each picture whole, left for right."""
    ramp = torch.arange(8, dtype=torch.uint8)[None, None, :, None].expand(100, 8, 8, 3).contiguous()
    out = augmented("flip", ramp)
    mirrored = (out == ramp.flip(2)).flatten(1).all(dim=1)
    assert ((out == ramp).flatten(1).all(dim=1) != mirrored).all()
    assert 30 < mirrored.sum() < 70
