"""Threads: small products are computed on one, and what comes after has its threads back."""

from collections.abc import Iterator

import pytest
import torch

from training.distributed import one_thread


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """As on a machine of several cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_torch_computes_on_one_thread_inside() -> None:
    """And on as many as before afterwards."""
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_threads_come_back_after_an_error() -> None:
    """A fit that fails leaves nothing changed."""
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert torch.get_num_threads() == 3
