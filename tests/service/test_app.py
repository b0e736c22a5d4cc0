"""The application loads, gets ready, refuses what must not be served, and drains."""

import asyncio
import shutil
from pathlib import Path

import pytest

from service.bundle import Bundle
from service.errors import BundleError
from tests.service.running_app import running_app
from tests.tiny_bundle import MOS_AND_LOGIT, png, write_tiny_bundle

RED = png((235, 20, 20))


async def test_it_is_not_ready_until_it_is_warm(tiny_bundle: Bundle) -> None:
    """After loading it lives and says that it is starting; after the canaries it is ready, and the gauge agrees."""
    async with running_app(tiny_bundle.path) as running:
        assert (await running.client.get("/health/live")).status_code == 200
        assert running.sample("mos_ready") == 0.0
        response = await running.client.post("/predict", content=RED)
        assert (response.status_code, "starting" in response.json()["detail"]) == (503, True)
        await running.until_ready()
        assert running.sample("mos_ready") == 1.0
        assert running.sample("mos_canary_deviation") <= 1e-4  # rounding


async def test_the_gauges_tell_the_calibration(tiny_bundle: Bundle) -> None:
    """Dashboards compare what is with what was promised."""
    assert tiny_bundle.calibration is not None
    async with running_app(tiny_bundle.path) as running:
        assert running.sample("mos_threshold") == tiny_bundle.calibration.threshold
        assert running.sample("mos_expected_in_ratio") == 0.95
        low, high = tiny_bundle.calibration.tpr_interval
        assert running.sample("mos_expected_in_ratio_bound", side="low") == low
        assert running.sample("mos_expected_in_ratio_bound", side="high") == pytest.approx(high)
        info = {"name": "tiny", "version": "1", "provider": "cpu", "precision": "float32"}
        assert running.sample("mos_model_info", model_sha256=tiny_bundle.manifest.model_sha256, **info) == 1
        assert running.sample("mos_decision_info", statistic="mos") == 1


async def test_what_is_expected_allows_for_strangers_of_every_kind(tiny_bundle: Bundle) -> None:
    """Where 20 % are foreign, all of them may be out and all of them may be in; the promise takes them to be out."""
    assert tiny_bundle.calibration is not None
    low, high = tiny_bundle.calibration.tpr_interval
    async with running_app(tiny_bundle.path, drift_strangers_share=0.2) as running:
        assert running.sample("mos_expected_in_ratio") == pytest.approx(0.95 * 0.8)
        assert running.sample("mos_expected_in_ratio_bound", side="low") == pytest.approx(low * 0.8)
        assert running.sample("mos_expected_in_ratio_bound", side="high") == pytest.approx(high * 0.8 + 0.2)


async def test_an_uncalibrated_bundle_lives_and_gives_no_verdict(tmp_path: Path) -> None:
    """Without a threshold nothing is decided, and everyone who asks hears what to run."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    async with running_app(bundle.path) as running:
        assert (await running.client.get("/health/live")).status_code == 200
        for response in (
            await running.client.get("/health/ready"),
            await running.client.post("/predict", content=RED),
            await running.client.post("/predict/batch", files=[("files", ("x", RED))]),
        ):
            assert response.status_code == 503
            assert "training calibrate" in response.json()["detail"]
        card = (await running.client.get("/model")).json()
        assert (card["threshold"], card["guarantee"]) == (None, None)
        assert running.sample("mos_ready") == 0.0


async def test_a_bundle_that_must_not_be_served_ends_the_start(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A changed model is found before anything listens."""
    copy = shutil.copytree(tiny_bundle.path, tmp_path / "bundle")
    (copy / "model.onnx").write_bytes(b"x")
    with pytest.raises(BundleError):
        async with running_app(copy):
            pytest.fail("it started")


async def test_a_canary_that_disagrees_ends_readiness(tmp_path: Path) -> None:
    """With an expectation that the model does not meet, neither /health/ready nor /predict answers 200."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    expected = tmp_path / "bundle" / "canary" / "expected.json"
    [red, _] = bundle.canaries
    moved = str(red.others_scores[0] + 0.1)
    expected.write_text(expected.read_text().replace(str(red.others_scores[0]), moved))
    async with running_app(bundle.path, canary_interval_seconds=0.05) as running:
        await until(lambda: running.sample("mos_canary_deviation") > 0.05)
        response = await running.client.post("/predict", content=RED)
        assert response.status_code == 503
        assert (await running.client.get("/health/ready")).status_code == 503


async def test_drift_within_the_tolerance_is_ready(tmp_path: Path) -> None:
    """The tolerance is a setting, for hardware that rounds otherwise."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    expected = tmp_path / "bundle" / "canary" / "expected.json"
    first = str(bundle.canaries[0].others_scores[0])
    expected.write_text(expected.read_text().replace(first, str(float(first) + 0.05)))
    async with running_app(bundle.path, canary_tolerance=0.06) as running:
        await running.until_ready()
        assert running.sample("mos_canary_deviation") == pytest.approx(0.05, abs=1e-4)


async def test_a_canary_of_another_statistic_moves_in_its_scale(tmp_path: Path) -> None:
    """The gauge counts a score that is not MOS in the deviations of its parts, here 1.5 together."""
    bundle = write_tiny_bundle(tmp_path / "bundle", decision=MOS_AND_LOGIT)
    expected = tmp_path / "bundle" / "canary" / "expected.json"
    score = bundle.canaries[0].score
    expected.write_text(expected.read_text().replace(str(score), str(score + 0.3)))
    async with running_app(bundle.path, canary_tolerance=0.25) as running:
        await running.until_ready()
        assert running.sample("mos_canary_deviation") == pytest.approx(0.2, abs=1e-4)


async def test_requests_that_were_accepted_are_answered_in_a_drain(tiny_bundle: Bundle) -> None:
    """The end of the lifespan waits for what is on its way; afterwards no thread of it is left."""
    async with running_app(tiny_bundle.path) as running:
        await running.until_ready()
        requests = [asyncio.create_task(running.client.post("/predict", content=RED)) for _ in range(20)]
        await asyncio.gather(*requests)
        running.app.state.health.fail("draining")
        refused = await running.client.post("/predict", content=RED)
    assert {request.result().status_code for request in requests} == {200}
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  what a prober does
            await asyncio.sleep(0.01)
