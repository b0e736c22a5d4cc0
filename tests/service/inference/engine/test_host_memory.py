"""Host memory for the device."""

import logging
import os

import numpy as np
import pytest

from service.inference.engine.host_memory import pinned


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a CUDA device here")
def test_without_cuda_it_is_ordinary_memory_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A missing library costs speed, not the service."""
    with caplog.at_level(logging.WARNING):
        array = pinned((2, 3, 3, 3))
    assert array.shape == (2, 3, 3, 3)
    assert array.dtype == np.uint8
    assert "could not be pinned" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not os.path.exists("/dev/nvidia0"), reason="there is no CUDA device here")
def test_with_cuda_it_is_pinned(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said, and the memory can be let go."""
    with caplog.at_level(logging.WARNING):
        array = pinned((2, 3, 3, 3))
        del array
    assert caplog.text == ""
