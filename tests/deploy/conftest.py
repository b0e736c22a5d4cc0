"""Tools that not every machine has."""

import shutil

import pytest


@pytest.fixture
def promtool() -> str:
    """The path of promtool; skips where there is none."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    return path
