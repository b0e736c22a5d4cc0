"""A camera that slowly changes, before the shipped bundle: real pictures, the real preprocessing, the real engine."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from service.bundle import Bundle, read_bundle
from service.inference.engine import Engine
from service.settings import DEFAULT_BUNDLE
from service.watch.drift import Drift
from tests.e2e.test_pictures import read_pictures
from tests.service.watch.drift.camera import blurred, scores, seen_through

NORMAL, CHANGING = 1_000, 1_000


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    if not DEFAULT_BUNDLE.is_dir():
        pytest.skip("the shipped bundle, service/default_bundle, is not here")
    return read_bundle(DEFAULT_BUNDLE)


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[bytes]:
    """Test pictures of every class, in no order."""
    found = [content for _, content in read_pictures(shared_data / "cifar100-test.tar.gz", every=5)]
    return random.Random(0).sample(found, NORMAL + CHANGING)


def test_blur_that_grows_is_seen_and_the_pictures_before_it_are_not(bundle: Bundle, pictures: list[bytes]) -> None:
    """A thousand pictures pass quietly; then blur grows to a radius of 2 pixels in a thousand, and both alarms come."""
    assert bundle.calibration is not None
    engine = Engine(bundle, provider="cpu", intra_op_threads=1)
    drift = Drift(bundle.calibration, reject_share=None, run_length=1e7, strangers_share=0)

    def alarms(seen: Iterable[bytes]) -> dict[str, int]:
        """By kind, after how many pictures its alarm was raised; ends when both are."""
        found: dict[str, int] = {}
        for score in scores(engine, bundle, seen):
            for kind in drift.observe(score, accepted=score >= bundle.calibration.threshold):  # type: ignore[union-attr]
                found.setdefault(kind, drift.pictures)
            if len(found) == 2:
                break
        return found

    assert alarms(pictures[:NORMAL]) == {}
    radii = [2 * picture / CHANGING for picture in range(CHANGING)]
    fired = alarms(seen_through(blurred, pictures[NORMAL:], radii))
    print({kind: radii[picture - NORMAL - 1] for kind, picture in fired.items()})
    assert fired.keys() == {"rejects", "p_values"}
