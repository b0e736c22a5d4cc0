"""A day in miniature on real pictures: the right alerts fire, the rest are quiet, and every answer is accounted for."""

import tarfile
from pathlib import Path

import pytest

from service.settings import DEFAULT_BUNDLE
from tests.e2e.drill import DRIFT, Day, live_through, pictures_in
from tests.prometheus_process import needs_prometheus

pytestmark = [pytest.mark.e2e, needs_prometheus]


@pytest.fixture(scope="module")
def day(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Live through it once, with the shipped bundle; what should not fire and does ends it here."""
    if not DEFAULT_BUNDLE.is_dir():
        pytest.skip("the shipped bundle, service/default_bundle, is not here")
    folder = tmp_path_factory.mktemp("day")
    for name in ("cifar100-test.tar.gz", "ood-textures.tar"):
        with tarfile.open(shared_data / name) as archive:
            archive.extractall(folder / name, filter="data")
    own, foreign = pictures_in(folder / "cifar100-test.tar.gz", 3000), pictures_in(folder / "ood-textures.tar", 600)
    return live_through(folder, own, foreign, bundle=DEFAULT_BUNDLE, say=print)


def test_normal_traffic_is_quiet(day: Day) -> None:
    """Nobody is called for nothing; a phase that ends quiet has no alert left."""
    assert day.fired("normal traffic: quiet, and stays so") == set()
    assert "the new calibration is served: quiet, and stays so" in day.phases


def test_strangers_and_a_blurred_camera_are_drift(day: Day) -> None:
    """Three in ten strangers set off the test of rejects; a blurred camera both."""
    assert "MosGuardDriftRejects" in day.fired("three in ten are strangers")
    assert day.fired("the camera blurs") >= DRIFT


def test_a_corrupt_bundle_and_a_dead_engine_are_called(day: Day) -> None:
    """Each by its own alert, and the failed requests by the error budget's."""
    assert "MosGuardBundleRefused" in day.fired("a corrupt bundle is pushed")
    assert "MosGuardNoReplicaReady" in day.fired("the engine fails")
    assert any("MosGuardErrorBudgetBurnsFast" in change.began for change in day.changes)


def test_every_answer_is_accounted_for(day: Day) -> None:
    """No request is lost, the service has counted what its clients heard, and every verdict has a known judge."""
    ledger = day.ledger
    assert ledger.lost == []
    assert ledger.statuses.keys() == {"200", "not_ready"}, "refused while the engine was dead, and never else"
    assert (ledger.statuses["200"], ledger.statuses["not_ready"]) == (day.counted["200"], day.counted["503"])
    assert ledger.judges.keys() == day.known_judges
    assert len(day.known_judges) == 2, "the first calibration and the new one"
    assert sum(ledger.decisions.values()) == ledger.statuses["200"]
