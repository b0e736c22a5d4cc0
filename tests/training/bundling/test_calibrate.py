"""The threshold keeps what it promises, or is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from service.bundle import Bundle, read_bundle
from service.errors import BundleError
from service.verdict import accepts
from tests.tiny_bundle import write_tiny_bundle
from training.bundling import calibrate as job
from training.bundling.calibrate import calibrate, fit, minimum_count, threshold_rank, tpr_interval
from training.errors import CalibrationError, DataError


@pytest.mark.parametrize(
    ("n", "at_95", "at_99"),
    [(500, 17, 14), (1000, 39, 35), (2000, 84, 78), (5000, 225, 215), (10000, 464, 450), (50000, 2420, 2387)],
)
def test_the_rank_is_the_known_one(n: int, at_95: int, at_99: int) -> None:
    """k for a TPR of 95 % at 95 % and 99 % confidence, from the published table."""
    assert threshold_rank(n, 0.95, 0.95) == at_95
    assert threshold_rank(n, 0.95, 0.99) == at_99


@pytest.mark.parametrize("n", [59, 200, 777])
def test_the_rank_is_the_largest_that_keeps_the_promise(n: int) -> None:
    """k keeps P(Bin(n, 5 %) >= k) at 95 % and k + 1 does not."""
    k = threshold_rank(n, 0.95, 0.95)
    assert binom.sf(k - 1, n, 0.05) >= 0.95 > binom.sf(k, n, 0.05)


def test_59_scores_are_the_fewest_at_the_defaults() -> None:
    """58 are refused with the number that is needed; at 99 % it is 90."""
    assert (minimum_count(0.95, 0.95), minimum_count(0.95, 0.99)) == (59, 90)
    assert threshold_rank(59, 0.95, 0.95) == 1
    with pytest.raises(CalibrationError, match="at least 59"):
        threshold_rank(58, 0.95, 0.95)


def test_recalibrating_breaks_the_promise_no_more_often_than_said() -> None:
    """Of 4,000 calibrations on uniform scores, whose true TPR is known, at most 5 % (and noise) fall below 95 %."""
    generator = np.random.default_rng(0)
    n, repeats = 300, 4000
    k = threshold_rank(n, 0.95, 0.95)
    thresholds = np.sort(generator.random((repeats, n)), axis=1)[:, k - 1]
    true_tpr = 1 - thresholds
    broken = (true_tpr < 0.95).mean()
    assert broken <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    low, high = tpr_interval(n, k, 0.95)
    assert ((true_tpr >= low) & (true_tpr <= high)).mean() == pytest.approx(0.95, abs=0.015)


def test_the_threshold_accepts_all_but_k_minus_1_of_its_scores(tiny_bundle: Bundle) -> None:
    """With distinct scores the k-th smallest is itself accepted; ties only accept more."""
    scores = np.random.default_rng(1).uniform(-1, 0, 1000)
    done = fit(scores, tiny_bundle, tpr=0.95, confidence=0.95, data={})
    assert (done.n, done.k) == (1000, 39)
    assert int((~accepts(scores, done.threshold)).sum()) == 38
    tied = fit(np.repeat(scores[:100], 10), tiny_bundle, tpr=0.95, confidence=0.95, data={})
    assert int((~accepts(np.repeat(scores[:100], 10), tied.threshold)).sum()) <= 38


def test_scores_that_are_not_numbers_are_refused(tiny_bundle: Bundle) -> None:
    """One NaN among the scores is a broken model, not a threshold."""
    scores = np.full(100, -0.5)
    scores[7] = np.nan
    with pytest.raises(CalibrationError, match="not numbers"):
        fit(scores, tiny_bundle, tpr=0.95, confidence=0.95, data={})


@pytest.mark.parametrize(("tpr", "confidence"), [(1.0, 0.95), (0.95, 1.0), (0.0, 0.5), (-1, 0.5)])
def test_promises_outside_zero_and_one_are_refused(tpr: float, confidence: float) -> None:
    """No number of pictures can promise everything."""
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        minimum_count(tpr, confidence)


def test_the_job_binds_the_threshold_to_model_preprocessing_and_data(
    tmp_path: Path, demo_data: dict[str, Path]
) -> None:
    """calibration.json holds the hashes, the counts and the data's fingerprint, and the bundle reads back with it."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    done = calibrate(bundle.path, demo_data["train"])
    again = read_bundle(bundle.path).calibration
    assert again == done
    assert done.n == 225
    assert done.k == threshold_rank(225, 0.95, 0.95)
    assert done.model_sha256 == bundle.manifest.model_sha256
    assert done.preprocess_sha256 == bundle.manifest.input.sha256
    assert done.data["n"] == 225
    assert done.reference.ranks[-1] == 225


def test_a_calibration_of_another_model_is_refused(tmp_path: Path, demo_data: dict[str, Path]) -> None:
    """A bundle whose model changed under its calibration cannot be read."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    calibrate(bundle.path, demo_data["train"])
    file = bundle.path / "calibration.json"
    changed = json.loads(file.read_text()) | {"model_sha256": "0" * 64}
    file.write_text(json.dumps(changed))
    with pytest.raises(BundleError, match="calibrate"):
        read_bundle(bundle.path)


def test_too_few_pictures_are_refused_before_any_is_scored(
    tmp_path: Path, demo_data: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says how many are needed, and no calibration is written."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    monkeypatch.setattr(job, "score_pictures", lambda *_: pytest.fail("scored"))
    with pytest.raises(CalibrationError, match="at least 90"):
        calibrate(bundle.path, demo_data["stripes"], confidence=0.99)
    assert not (bundle.path / "calibration.json").exists()


def test_the_spread_over_series_is_said(
    tmp_path: Path, demo_data: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """By the pattern's names; a pattern that does not fit stops before anything is scored or written."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    with pytest.raises(DataError, match="tells no series"):
        calibrate(bundle.path, demo_data["train"], group_by="shop(.)")
    assert not (bundle.path / "calibration.json").exists()
    calibrate(bundle.path, demo_data["train"], group_by=r"/([^/]+)/\d")
    said = capsys.readouterr().err
    assert "of 9 series" in said
    assert "lowest: " in said
