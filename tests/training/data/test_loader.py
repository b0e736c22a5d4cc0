"""Reading ahead: the same items in the same order, whoever reads them, and one sentence where a reader dies."""

import os
import signal
from dataclasses import dataclass

import pytest
import torch

from training.data import loader
from training.errors import DataError


@dataclass(frozen=True)
class Squares:
    """A number's square; one cannot be read, at another the process is killed, at a third there is a defect."""

    unreadable: int = -1
    deadly: int = -1
    defective: int = -1

    def at(self, index: int) -> torch.Tensor:
        if index == self.unreadable:
            raise DataError(f"The number {index} cannot be read.")
        if index == self.defective:
            raise RuntimeError("an odd number")
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor([index * index])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_items_come_in_the_order_asked_for(workers: int) -> None:
    """However many processes read them."""
    assert [int(item) for item in loader.read(Squares(), [5, 0, 3, 3, 8], workers=workers)] == [25, 0, 9, 9, 64]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_source_comes_as_it_was_raised(workers: int) -> None:
    """After the items before it, and as one sentence."""
    items = loader.read(Squares(unreadable=2), range(4), workers=workers)
    assert [int(next(items)), int(next(items))] == [0, 1]
    with pytest.raises(DataError, match=r"^The number 2 cannot be read\.$"):
        next(items)


def test_a_worker_that_dies_is_one_sentence_with_the_remedy() -> None:
    """As where memory runs out; a run is not left hanging."""
    with pytest.raises(DataError, match=r"ended too early.*--workers"):
        list(loader.read(Squares(deadly=3), range(8), workers=1))


def test_a_defect_in_a_worker_is_not_taken_for_its_death() -> None:
    """An error that is none of ours keeps its own words."""
    with pytest.raises(RuntimeError, match="an odd number"):
        list(loader.read(Squares(defective=2), range(4), workers=1))


def test_workers_leave_the_random_start_of_a_network_alone() -> None:
    """What torch draws next does not depend on how pictures were read."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(loader.read(Squares(), range(4), workers=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_short_list_is_not_worth_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default there is none for a handful of items, and at most one for each core."""
    asked: list[int] = []
    monkeypatch.setattr(loader, "DataLoader", lambda *_, num_workers, **__: asked.append(num_workers) or [])
    monkeypatch.setattr(loader, "usable_cores", lambda: 4)
    assert len(list(loader.read(Squares(), range(loader.ITEMS_A_WORKER - 1)))) == loader.ITEMS_A_WORKER - 1
    for items in (loader.ITEMS_A_WORKER, 100 * loader.ITEMS_A_WORKER):
        list(loader.read(Squares(), range(items)))
    assert asked == [1, 4]
