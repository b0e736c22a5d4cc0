"""Verdicts without a service are the service's verdicts."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from service.bundle import Bundle, InputSpec
from service.errors import BundleError, CorruptImage, ModelOutputError, UnsupportedFormat
from service.preprocess import decode
from service.verdict import Verdict
from tests.service.running_app import running_app
from tests.tiny_bundle import MOS_AND_LOGIT, png, rough_jpeg, write_tiny_bundle
from training.errors import DataError, ScoringError
from training.scoring import judging
from training.scoring.judging import LocalJudge, Outcome, Picture

RED, GREY, ROUGH = png((235, 20, 20)), png((128, 128, 128)), rough_jpeg()
ROOT = Path(__file__).parents[3]


def outcomes(bundle: Bundle, contents: Sequence[bytes | Path | DataError], **options: int) -> list[Outcome]:
    """What became of pictures that are called by their numbers."""
    pictures = [Picture(str(number), content) for number, content in enumerate(contents)]
    return [outcome for _, outcome in LocalJudge(bundle).judge(pictures, **options)]


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
    for verdict, answer in zip(outcomes(bundle, [RED, GREY, ROUGH]), served, strict=True):
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
    """Each in its place, the faults of the model and of the disk too."""
    bundle = write_tiny_bundle(tmp_path / "bundle", nan_on_black=True)
    (tmp_path / "red.png").write_bytes(RED)
    shard = DataError("The shard is damaged.")
    contents = [RED, b"none", png((0, 0, 0)), shard, tmp_path / "red.png", tmp_path / "gone", Path("\0"), RED[:-30]]
    kinds = [
        Verdict,
        UnsupportedFormat,
        ModelOutputError,
        DataError,
        Verdict,
        FileNotFoundError,
        OSError,
        CorruptImage,
    ]
    for size in (1, 3, 8):
        assert [type(outcome) for outcome in outcomes(bundle, contents, batch_size=size)] == kinds
    assert outcomes(bundle, []) == []


def test_want_of_memory_is_one_pictures_own(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have their verdicts."""

    def load(encoded: bytes, **size: int) -> object:
        if encoded == GREY:
            raise MemoryError
        return decode(encoded, **size)

    monkeypatch.setattr(judging, "decode", load)
    assert [type(outcome) for outcome in outcomes(tiny_bundle, [RED, GREY, RED])] == [Verdict, MemoryError, Verdict]


def test_many_are_in_order_whatever_thread_is_first(tiny_bundle: Bundle) -> None:
    """Each picture comes with its own verdict, beside the picture itself."""
    pictures = [Picture(str(number), (RED, GREY, b"none")[number % 3]) for number in range(100)]
    judged = list(LocalJudge(tiny_bundle, threads=4).judge(pictures, batch_size=2))
    assert [picture for picture, _ in judged] == pictures
    said = [outcome.decision if isinstance(outcome, Verdict) else "error" for _, outcome in judged]
    assert said == [("in", "out", "error")[number % 3] for number in range(100)]


def test_pictures_are_taken_as_they_are_needed(tiny_bundle: Bundle) -> None:
    """So that a source of any size needs the memory of some batches."""
    taken = []

    def endless() -> Iterator[Picture]:
        while True:
            taken.append(None)
            yield Picture("red", RED)

    assert len(list(islice(LocalJudge(tiny_bundle, threads=2).judge(endless(), batch_size=3), 5))) == 5
    assert len(taken) <= 5 + 2 * 2 * 3


def test_larger_pictures_go_in_smaller_batches(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU each core holds a batch of its own, which must fit into memory."""
    judge = LocalJudge(tiny_bundle)
    sizes = []
    for side in (8, 32, 64, 480):
        monkeypatch.setattr(judge, "_spec", InputSpec(height=side, width=side))
        sizes.append(judge.batch_size)
    assert sizes == [64, 32, 8, 1]


def test_a_model_that_cannot_be_run_is_no_pictures_fault(tmp_path: Path) -> None:
    """It is an error of the whole, and names where it was."""
    bundle = write_tiny_bundle(tmp_path / "bundle", fail_on_white=True)
    with pytest.raises(ScoringError, match="2 pictures from 0 on"):
        outcomes(bundle, [RED, png((255, 255, 255))])


def test_nothing_is_decided_without_a_calibration(tmp_path: Path) -> None:
    """There is no threshold to take."""
    with pytest.raises(BundleError, match="calibrate"):
        LocalJudge(write_tiny_bundle(tmp_path / "bundle", calibrated=False))


def test_it_runs_without_torch(tiny_bundle: Bundle) -> None:
    """So that `predict` works where the service is installed."""
    check = "import sys, training.scoring.judging, training.weights.shipped; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=120)
