"""A whole bundle on disk, for the tests of reading and writing."""

from pathlib import Path

import pytest

from service.bundle import Bundle, write_bundle
from tests.service.bundle.parts import CANARIES, MODEL, a_calibration, a_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A whole bundle in a folder of its own."""
    return write_bundle(
        tmp_path / "bundle", manifest=a_manifest(), model=MODEL, canaries=CANARIES, calibration=a_calibration()
    )
