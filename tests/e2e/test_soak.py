"""A soak in miniature: every fault once or twice under mixed traffic, and nothing lost, wrong or growing."""

import sys
from pathlib import Path

import pytest

from tests.e2e.soak.faults import FAULTS
from tests.e2e.soak.mix import made_pictures
from tests.e2e.soak.soak import soak, table
from tests.tiny_bundle import CLASSES, MOS_AND_LOGIT, png, write_tiny_bundle

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="reads what a process holds from /proc"),
]

SECONDS = 45
PER_SECOND = 50  # modest, for other tests run beside it


def test_nothing_is_lost_wrong_or_growing(tmp_path: Path) -> None:
    """Every answer is the one that the version it names gives offline, and the service's counts are its clients'."""
    bundles = [
        write_tiny_bundle(tmp_path / "mos", version="1").path,
        write_tiny_bundle(tmp_path / "joined", version="2", decision=MOS_AND_LOGIT).path,
    ]
    colors = [tuple(round(20 + 215 * channel) for channel in color) for color in CLASSES.values()]
    pictures = [*map(png, colors), *made_pictures(60, seed=0)]
    report = soak(tmp_path, bundles, pictures, seconds=SECONDS, seed=0, pause_seconds=2.5, per_second=PER_SECOND)
    print(table(report, seed=0))
    assert report.complaints == []
    assert len(report.faults) == len(FAULTS)
