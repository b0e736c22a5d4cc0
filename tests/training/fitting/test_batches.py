"""Batches: a permutation an epoch, mixtures of the pictures that the labels say, and views drawn by chance."""

from dataclasses import replace

import numpy as np
import torch

from training.fitting.batches import Batches, feature_batches
from training.fitting.recipes import one_cycle

RECIPE = one_cycle(epochs=3, batch_size=8, seed=7)
LABELS = np.arange(20)


def numbers(alpha: float = 0.0, ahead: bool = False) -> Batches:
    """Batches whose inputs are their labels."""
    recipe = replace(RECIPE, mixup_alpha=alpha)
    return Batches(lambda rows, _: torch.from_numpy(LABELS[rows]), LABELS, recipe, mixed=True, ahead=ahead)


def test_an_epoch_shows_each_picture_at_most_once() -> None:
    """The order of an epoch is a permutation, and the next epoch's is another."""
    batches = numbers()
    assert (batches.per_epoch, batches.steps) == (2, 6)
    epochs = [torch.cat([batches.at(step).inputs for step in range(e * 2, e * 2 + 2)]).tolist() for e in range(3)]
    assert all(len(set(epoch)) == 16 for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_reading_ahead_changes_nothing() -> None:
    """The same batches in the same order, from wherever a run resumes."""
    plain, ahead = (
        [(step, batch.inputs.tolist()) for step, batch in numbers(ahead=a).stream(2)] for a in (False, True)
    )
    assert plain == ahead
    assert [step for step, _ in plain] == [2, 3, 4, 5]


def test_pictures_and_labels_are_mixed_alike() -> None:
    """Each input is its own label and its partner's in the batch's share: labels never tell of unmixed pictures."""
    shares = []
    for step, batch in numbers(alpha=0.5).stream(0):
        expected = batch.share * batch.labels + (1 - batch.share) * batch.partners
        torch.testing.assert_close(batch.inputs, expected.float(), rtol=1e-5, atol=1e-5)
        assert sorted(batch.partners.tolist()) == sorted(batch.labels.tolist()), step
        shares.append(batch.share)
    assert len(set(shares)) == 6
    assert all(0 <= share <= 1 for share in shares)


def test_nothing_is_mixed_without_mixup() -> None:
    """Small data sets keep their pictures whole."""
    batch = numbers().at(0)
    assert batch.share == 1.0
    assert torch.equal(batch.inputs, batch.labels)


def test_each_feature_is_a_drawn_view_of_its_picture() -> None:
    """Rows go through the map to the cache, and both views come up."""
    rows_of = np.arange(20)[::-1].copy()
    views = np.stack([np.arange(20.0), 100 + np.arange(20.0)]).astype(np.float32)[:, :, None]
    batch = feature_batches(views, rows_of, LABELS, RECIPE).at(0)
    picture = batch.inputs[:, 0] % 100
    assert torch.equal(picture.long(), 19 - batch.labels)
    assert 0 < int((batch.inputs >= 100).sum()) < 8
