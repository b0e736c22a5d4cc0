"""Verdicts without a service are the service's verdicts."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.bundle import Bundle
from service.errors import BundleError, CorruptImage, ModelOutputError, UnsupportedFormat
from service.verdict import Verdict
from tests.service.running_app import running_app
from tests.tiny_bundle import MOS_AND_LOGIT, png, rough_jpeg, write_tiny_bundle
from training.scoring.judging import local_judge

RED, GREY, ROUGH = png((235, 20, 20)), png((128, 128, 128)), rough_jpeg()
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "made",
    [{}, {"schema_version": 1}, {"decision": MOS_AND_LOGIT}, {"jpeg_scale": "reduced"}],
    ids=["mos", "schema 1", "sum", "reduced"],
)
async def test_verdicts_are_the_services(tmp_path: Path, made: dict[str, object]) -> None:
    """Field by field, whatever decides."""
    bundle = write_tiny_bundle(tmp_path / "bundle", **made)  # type: ignore[arg-type]
    async with running_app(bundle.path) as running:
        await running.until_ready()
        served = [(await running.client.post("/predict", content=image)).json() for image in (RED, GREY, ROUGH)]
    for verdict, answer in zip(local_judge(bundle)([RED, GREY, ROUGH]), served, strict=True):
        assert isinstance(verdict, Verdict)
        for name in (
            "label",
            "class_index",
            "group",
            "decision",
            "decided_by",
            "threshold",
            "p_value",
            "others_scores",
        ):
            assert getattr(verdict, name) == answer[name]
        for name in ("mos", "score", "probability"):
            assert getattr(verdict, name) == pytest.approx(answer[name], abs=1e-6)


def test_a_bad_picture_fails_alone(tmp_path: Path) -> None:
    """Each in its place, the faults of the model too."""
    bundle = write_tiny_bundle(tmp_path / "bundle", nan_on_black=True)
    outcomes = local_judge(bundle)([RED, b"none", png((0, 0, 0)), GREY, RED[:-30]])
    assert [type(outcome) for outcome in outcomes] == [
        Verdict,
        UnsupportedFormat,
        ModelOutputError,
        Verdict,
        CorruptImage,
    ]
    assert local_judge(bundle)([b"none"])[0].args
    assert local_judge(bundle)([]) == []


def test_nothing_is_decided_without_a_calibration(tmp_path: Path) -> None:
    """There is no threshold to take."""
    with pytest.raises(BundleError, match="calibrate"):
        local_judge(write_tiny_bundle(tmp_path / "bundle", calibrated=False))


def test_it_runs_without_torch(tiny_bundle: Bundle) -> None:
    """So that `predict` works where the service is installed."""
    check = "import sys, training.scoring.judging, training.weights.shipped; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=120)
