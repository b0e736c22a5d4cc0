"""Batches: a function of seed and step, shared without reading anything twice, mixed as the labels say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from training.data.pixels import Pictures
from training.data.sets import DataSet, read_data_set
from training.errors import DataError, SettingError
from training.fitting.batches import Batch, Batches, Foreign, feature_batches, picture_batches
from training.fitting.loop import fit, mixup
from training.fitting.recipes import one_cycle
from training.grouping.groups import Grouping
from training.model.group_softmax import FOREIGN
from training.model.network import Heads

RECIPE = one_cycle(epochs=3, batch_size=8, seed=7)
LABELS = np.arange(20)


class Numbers:
    """Inputs that are their labels."""

    def read(self, rows: NDArray[np.int64], share: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.from_numpy(LABELS[rows[share.numpy()]])


def numbers(alpha: float = 0.0, **changes: int) -> Batches:
    """Batches of numbers."""
    return Batches(Numbers(), LABELS, replace(RECIPE, **changes), mixup_alpha=alpha, workers=0)  # type: ignore[arg-type]


def shared(batches: Batches, rank: int, world_size: int) -> Batches:
    """The batches as one of several processes reads them."""
    batches.rank, batches.world_size = rank, world_size
    return batches


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """Two classes of eight pictures, all alike, so that only augmentation tells two of them apart."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(8):
            Image.fromarray(noise).save(tmp_path / name / f"{index}.png")
    return read_data_set(tmp_path)


def test_an_epoch_has_each_picture_at_most_once() -> None:
    """The order of an epoch is a permutation, and the next epoch's is another."""
    batches = numbers()
    assert (batches.per_epoch, batches.steps) == (2, 6)
    epochs = [torch.cat([batches.at(step).inputs for step in range(e * 2, e * 2 + 2)]).tolist() for e in range(3)]
    assert all(len(set(epoch)) == 16 for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_another_seed_gives_another_order() -> None:
    """The first batch already differs."""
    assert numbers().at(0).inputs.tolist() != numbers(seed=8).at(0).inputs.tolist()


@pytest.mark.parametrize("augmentation", ["flip", "standard", "strong"])
def test_every_step_draws_its_own_augmentation(data: DataSet, augmentation: str) -> None:
    """Of the same picture no two steps make the same batch; the same step makes it again, and another seed another."""
    recipe = replace(RECIPE, augmentation=augmentation)
    batches = picture_batches(Pictures(data), 16, 16, recipe, workers=0)
    made = [batches.at(step).inputs for step in range(batches.steps)]
    assert not any(torch.equal(made[0], other) for other in made[1:])
    assert torch.equal(batches.at(3).inputs, made[3])
    other_seed = picture_batches(Pictures(data), 16, 16, replace(recipe, seed=8), workers=0)
    assert not torch.equal(other_seed.at(0).inputs, made[0])


def test_every_step_draws_its_own_crop(data: DataSet) -> None:
    """The paper's recipe does nothing else to a picture."""
    batches = picture_batches(Pictures(data), 16, 8, replace(RECIPE, augmentation="none"), workers=0)
    assert batches.at(0).inputs.shape == (8, 8, 8, 3)
    assert not torch.equal(batches.at(0).inputs, batches.at(1).inputs)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("augmentation", ["none", "strong"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_shares_make_the_whole_batch(data: DataSet, alpha: float, augmentation: str, world_size: int) -> None:
    """Processes read disjoint shares whose pictures, mixtures and labels are those of a single process."""
    recipe = replace(RECIPE, augmentation=augmentation, mixup_alpha=alpha)
    alone = picture_batches(Pictures(data), 16, 16, recipe, workers=0)
    parts = [
        shared(picture_batches(Pictures(data), 16, 16, recipe, workers=0), rank, world_size)
        for rank in range(world_size)
    ]
    whole = alone.at(1)
    places = torch.cat([part.share(whole.size) for part in parts])
    assert sorted(places.tolist()) == list(range(whole.size))
    shares = [part.at(1) for part in parts]
    assert {share.lam for share in shares} == {whole.lam}
    for name in ("mixed", "labels", "partner_labels"):
        together = torch.cat([content(share)[name] for share in shares])
        assert torch.equal(together, content(whole)[name][places]), name


def content(batch: Batch) -> dict[str, torch.Tensor]:
    """What a network sees of a batch."""
    mixed = mixup(batch.inputs, batch.inputs[batch.partner], batch.lam)
    return {"mixed": mixed, "labels": batch.labels, "partner_labels": batch.labels[batch.partner]}


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(data: DataSet, workers: int) -> None:
    """The same batches in the same order, from wherever a run resumes."""
    recipe = replace(RECIPE, augmentation="strong", mixup_alpha=0.5)
    plain, ahead = (
        list(picture_batches(Pictures(data), 16, 16, recipe, workers=count).stream(2)) for count in (0, workers)
    )
    assert [step for step, _ in ahead] == [2, 3, 4, 5]
    for (_, one), (_, other) in zip(plain, ahead, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
        assert (one.lam, one.size) == (other.lam, other.size)


def test_a_picture_that_a_worker_cannot_read_is_one_sentence(data: DataSet) -> None:
    """The error that a worker met reaches the command as it would without workers."""
    (data.root / "a" / "3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"^The picture \S+a/3\.png cannot be read") as refused:
        list(picture_batches(Pictures(data), 16, 16, RECIPE, workers=1).stream(0))
    assert "\n" not in str(refused.value)


def test_pictures_and_labels_are_mixed_alike() -> None:
    """Each input is its own label and its partner's, by the batch's lam: labels never tell of unmixed pictures."""
    lams = []
    for step, batch in numbers(alpha=0.5).stream(0):
        partner_labels = batch.labels[batch.partner]
        mixed = mixup(batch.inputs, batch.inputs[batch.partner], batch.lam)
        expected = batch.lam * batch.labels + (1 - batch.lam) * partner_labels
        torch.testing.assert_close(mixed, expected.float(), rtol=1e-5, atol=1e-5)
        assert sorted(partner_labels.tolist()) == sorted(batch.labels.tolist()), step
        assert not (partner_labels == batch.labels).any()
        lams.append(batch.lam)
    assert len(set(lams)) == 6
    assert all(0 <= lam <= 1 for lam in lams)


def test_the_last_of_an_odd_batch_is_mixed_with_itself() -> None:
    """Nobody is left to be its partner."""
    batch = numbers(alpha=0.5, batch_size=7).at(0)
    assert batch.partner.tolist() == [1, 0, 3, 2, 5, 4, 6]


def test_nothing_is_mixed_without_mixup() -> None:
    """Small data sets keep their pictures whole."""
    batch = numbers().at(0)
    assert batch.lam == 1.0
    assert torch.equal(batch.inputs, batch.labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_each_feature_is_a_drawn_view_of_its_picture(dtype: type[np.floating]) -> None:
    """Rows go through the map to the cache, both views come up, and each step draws its own; always float32."""
    rows_of = np.arange(20)[::-1].copy()
    views = np.stack([np.arange(20.0), 100 + np.arange(20.0)]).astype(dtype)[:, :, None]
    batches = feature_batches(views, rows_of, LABELS, RECIPE)
    drawn = []
    for step in range(batches.steps):
        batch = batches.at(step)
        assert batch.inputs.dtype == torch.float32
        assert torch.equal((batch.inputs[:, 0] % 100).long(), 19 - batch.labels)
        drawn.append(tuple((batch.inputs[:, 0] >= 100).tolist()))
    assert 0 < sum(map(sum, drawn)) < 48
    assert len(set(drawn)) > 1


def test_a_batch_too_small_for_its_processes_is_refused(tmp_path: Path) -> None:
    """A process without a picture would have no gradient to share."""
    batches = shared(feature_batches(np.zeros((1, 20, 4), np.float32), LABELS, LABELS % 2, RECIPE), 8, 9)
    with pytest.raises(SettingError, match="cannot be shared"):
        fit(Heads(4, Grouping(("a",), ((0, 1),))), batches, RECIPE, tmp_path, lambda _: "", on_features=True)


class Tens:
    """Foreign inputs that tell their own row: 1000 + row."""

    def read(self, rows: NDArray[np.int64], share: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.from_numpy(1000 + rows[share.numpy()])


def with_foreign(size: int = 3, count: int = 7, alpha: float = 0.0) -> Batches:
    """Batches of 8 numbers and some foreign ones."""
    kinds = [Foreign(Tens(), count, size)]
    return Batches(Numbers(), LABELS, RECIPE, foreign=kinds, mixup_alpha=alpha, workers=0)


def test_foreign_pictures_stand_behind_the_known_and_have_no_class() -> None:
    """Both kinds are in one batch; the known ones are the very ones of a run without foreign ones."""
    batch = with_foreign().at(1)
    assert torch.equal(batch.inputs[:8], numbers().at(1).inputs)
    assert (batch.inputs[8:] >= 1000).all()
    assert batch.labels[8:].tolist() == [FOREIGN] * 3
    assert torch.equal(batch.labels[:8], batch.inputs[:8])
    assert batch.size == 11


def test_the_batchs_mean_is_that_of_each_kind_weighed() -> None:
    """The mean of weight times loss is the known pictures' mean and `outlier_weight` times the foreign ones'."""
    batch = with_foreign().at(0)
    losses = torch.arange(11.0)
    expected = losses[:8].mean() + RECIPE.outlier_weight * losses[8:].mean()
    torch.testing.assert_close((batch.weights * losses).mean(), expected)


def test_foreign_pictures_go_round_in_an_order_of_their_own() -> None:
    """Each comes up at most once before the order is drawn anew."""
    batches = with_foreign(size=3, count=7)
    laps = [[batches.at(step).inputs[8:] for step in pair] for pair in ((0, 1), (2, 3), (4, 5))]
    rows = [torch.cat(lap).tolist() for lap in laps]
    assert all(len(set(lap)) == 6 for lap in rows)
    assert rows[0] != rows[1]


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_shares_of_batches_with_foreign_pictures_make_the_whole(alpha: float) -> None:
    """Two processes read what one would, with the same weights."""
    whole = with_foreign(size=4, alpha=alpha).at(0)
    shares = [shared(with_foreign(size=4, alpha=alpha), rank, 2).at(0) for rank in (0, 1)]
    for name in ("inputs", "labels", "weights"):
        together = torch.cat([getattr(share, name) for share in shares])
        assert sorted(together.tolist()) == sorted(getattr(whole, name).tolist()), name
    assert {share.size for share in shares} == {whole.size}


def test_cached_features_of_foreign_pictures_are_looked_up() -> None:
    """A frozen backbone needs their features alone."""
    views = np.arange(20.0, dtype=np.float32)[None, :, None]
    foreign = 100 + np.arange(5.0, dtype=np.float32)[None, :, None]
    batch = feature_batches(views, LABELS, LABELS, RECIPE, [(foreign, 2)]).at(0)
    assert batch.inputs.shape == (10, 1)
    assert set(batch.inputs[8:, 0].tolist()) <= {100.0, 101.0, 102.0, 103.0, 104.0}
