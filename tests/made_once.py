"""What is dear to make and only read is made once, however many processes run the tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, of this test run; a process that comes later waits for it and takes it as it is."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name)
        make(folder)
        return folder
    shared = factory.getbasetemp().parent / f"{name}-of-all"
    with FileLock(f"{shared}.lock"):
        if not (shared / "whole").exists():  # a `make` that failed is tried again, and fails for each
            shared.mkdir(exist_ok=True)
            make(shared)
            (shared / "whole").touch()
    return shared
