"""What was learnt in use becomes a threshold, with what it costs, and only where it certifies something."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.bundle import Bundle, read_bundle
from service.verdict import accepts
from tests.tiny_bundle import CLASSES, write_tiny_bundle
from tests.training.bundling.lines import Line, feedback_line, remembered, verdict_line, write_lines
from training.__main__ import main
from training.bundling.calibrate import calibrate
from training.bundling.guarantee import threshold_rank
from training.bundling.labels import NO_VERDICT, OTHER_MODEL
from training.bundling.recalibrate import NO_GROUP, SELECTED, THINNED, Recalibration, recalibrate, write
from training.errors import CalibrationError, DataError, SettingError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Calibrated, and to be changed."""
    return write_tiny_bundle(tmp_path / "bundle")


def served(bundle: Bundle, n: int = 400) -> list[tuple[str, float, str]]:
    """Request id, score and decision of n pictures."""
    assert bundle.calibration is not None
    scores = np.random.default_rng(5).uniform(-1, 0, n)
    accepted = accepts(scores, bundle.calibration.threshold)
    return [(f"r{i}", float(scores[i]), "in" if accepted[i] else "out") for i in range(n)]


def verdict_lines(bundle: Bundle) -> list[Line]:
    """Of all that was served."""
    return [verdict_line(bundle.manifest, *one) for one in served(bundle)]


def label_of(number: int) -> str:
    """Every fifth picture is foreign."""
    return "out" if number % 5 == 0 else "in"


def on_lines(bundle: Bundle, verdicts: list[Line], feedback: list[Line], **options: float) -> Recalibration:
    """From files of lines alone, certified at 95 %."""
    folder = bundle.path.parent
    files = write_lines(folder / "verdicts.jsonl", verdicts), write_lines(folder / "feedback.jsonl", feedback)
    return recalibrate(bundle.path, [files[0]] if verdicts else [], [files[1]], None, confidence=0.95, **options)


def write_pictures(folder: Path, count: int, seed: int) -> Path:
    """Noisy pictures of the classes' colours."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    colours = np.array(list(CLASSES.values()))[generator.integers(0, len(CLASSES), count)]
    for number, colour in enumerate(colours):
        pixels = 255 * colour + generator.normal(0, 60, (12, 12, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    return folder


def test_the_threshold_is_an_order_statistic_of_the_scores_labelled_in(bundle: Bundle) -> None:
    """Joined to their verdict lines, every picture labelled: nothing is left out and the shares are plain counts."""
    everything = served(bundle)
    labels = [feedback_line(request_id, label_of(i)) for i, (request_id, *_) in enumerate(everything)]
    found = on_lines(bundle, verdict_lines(bundle), labels)
    inside = sorted(score for i, (_, score, _) in enumerate(everything) if label_of(i) == "in")
    outside = np.array([score for i, (_, score, _) in enumerate(everything) if label_of(i) == "out"])
    k = threshold_rank(320, 0.95, 0.95)
    assert (found.after.n, found.after.k, found.after.threshold) == (320, k, inside[k - 1])
    assert found.after.method == "certified"
    assert (found.labels, found.pictures, found.ignored.total(), found.problem) == (400, 0, 0, None)
    assert found.of_in.after.share == (320 - k + 1) / 320
    assert found.of_in.before.share == np.mean([score >= found.before.threshold for score in inside])
    assert found.of_out is not None
    assert found.of_out.before.share == (outside >= found.before.threshold).mean()
    assert found.of_out.after.share == (outside >= found.after.threshold).mean()


def test_nothing_is_written_until_it_is_said(bundle: Bundle) -> None:
    """Then the bundle reads back with the new threshold, which tells what it is from and no path."""
    labels = [remembered(bundle.manifest, one[0], label_of(i), *one[1:]) for i, one in enumerate(served(bundle))]
    found = on_lines(bundle, verdict_lines(bundle), labels)
    assert read_bundle(bundle.path).calibration == bundle.calibration
    write(found)
    again = read_bundle(bundle.path)
    assert again.calibration == found.after
    assert again.canaries == bundle.canaries
    assert set(again.card) == {"card.md", "card.png"}
    assert found.after.data["n"] == 320
    assert found.after.data["labels"] == 400
    assert found.after.data["labelled_shares"] == {"in": 1.0, "out": 1.0}
    assert [file["kind"] for file in found.after.data["files"]] == ["verdicts", "feedback"]  # type: ignore[union-attr, index, call-overload]
    assert str(bundle.path.parent) not in found.after.model_dump_json()


def test_labels_of_rejected_pictures_alone_certify_nothing(bundle: Bundle) -> None:
    """However many they are, with verdict lines and without."""
    rejected = [one for one in served(bundle) if one[2] == "out"] * 9
    labels = [remembered(bundle.manifest, f"{i}", "in", *one[1:]) for i, one in enumerate(rejected)]
    for verdicts in ([], verdict_lines(bundle)):
        with pytest.raises(CalibrationError, match="none of the labelled pictures was judged `in`"):
            on_lines(bundle, verdicts, labels)


def test_beside_pictures_a_selected_sample_is_left_out(bundle: Bundle, tmp_path: Path) -> None:
    """The pictures certify by themselves."""
    folder = write_pictures(tmp_path / "data" / "in", 80, 1).parent
    labels = [remembered(bundle.manifest, *(one[0], "in", *one[1:])) for one in served(bundle) if one[2] == "out"]
    feedback = write_lines(tmp_path / "feedback.jsonl", labels)
    found = recalibrate(bundle.path, [], [feedback], folder, confidence=0.95)
    assert (found.after.n, found.labels, found.pictures) == (80, 0, 80)
    assert found.ignored[SELECTED] == len(labels)
    assert found.problem is None


def test_labels_of_the_decision_that_was_asked_about_more_are_thinned(bundle: Bundle) -> None:
    """Every rejected picture was labelled, and every other accepted one: about half of the former count."""
    asked = [(i, one) for i, one in enumerate(served(bundle)) if one[2] == "out" or i % 2]
    labels = [remembered(bundle.manifest, one[0], label_of(i), *one[1:]) for i, one in asked]
    found = on_lines(bundle, verdict_lines(bundle), labels)
    rejected = sum(one[2] == "out" for _, one in asked)
    assert 0.2 * rejected < found.ignored[THINNED] < 0.8 * rejected
    assert found.labels == len(asked) - found.ignored[THINNED]


def test_without_verdict_lines_it_may_be_seen_and_not_written(bundle: Bundle) -> None:
    """Whether accepted and rejected pictures were asked about alike is not known."""
    labels = [remembered(bundle.manifest, one[0], label_of(i), *one[1:]) for i, one in enumerate(served(bundle))]
    found = on_lines(bundle, [], labels)
    assert found.after.n == 320
    with pytest.raises(CalibrationError, match="--verdicts"):
        write(found)
    assert read_bundle(bundle.path).calibration == bundle.calibration


def test_lines_of_another_model_are_left_out_and_counted(bundle: Bundle) -> None:
    """Its scores have nothing to do with this threshold; nor do labels without a score."""
    labels = [remembered(bundle.manifest, one[0], label_of(i), *one[1:]) for i, one in enumerate(served(bundle))]
    others = [remembered(bundle.manifest, f"o{i}", "in", 9.0, "in", model_sha256="0" * 64) for i in range(70)]
    lost = [feedback_line(f"l{i}", "in") for i in range(3)]
    found = on_lines(bundle, verdict_lines(bundle), labels + others + lost)
    assert found.after.n == 320
    assert (found.ignored[OTHER_MODEL], found.ignored[NO_VERDICT]) == (70, 3)


def test_too_few_labels_are_refused_with_what_was_ignored(bundle: Bundle) -> None:
    """The sentence says how many are needed."""
    labels = [remembered(bundle.manifest, one[0], "in", *one[1:]) for one in served(bundle)[:58]]
    lost = [feedback_line(f"l{i}", "in") for i in range(3)]
    verdicts = [verdict_line(bundle.manifest, *one) for one in served(bundle)[:58]]
    with pytest.raises(CalibrationError, match=r"58 pictures.*at least 59") as refused:
        on_lines(bundle, verdicts, labels + lost)
    assert f"3 {NO_VERDICT}" in str(refused.value)


@pytest.mark.parametrize("with_out", [True, False])
def test_labelled_pictures_are_scored(bundle: Bundle, tmp_path: Path, with_out: bool) -> None:
    """Folders `in` and `out`, either of which may be missing; each content counts once."""
    inside = write_pictures(tmp_path / "data" / "in", 70, 1)
    shutil.copy(inside / "000.png", inside / "again.png")
    if with_out:
        (tmp_path / "data" / "out").mkdir()
        Image.new("RGB", (9, 9), "gray").save(tmp_path / "data" / "out" / "grey.png")
    found = recalibrate(bundle.path, [], [], tmp_path / "data", confidence=0.95)
    assert (found.after.n, found.pictures) == (70, 70 + with_out)
    assert (found.of_out is not None) == with_out
    assert found.after.data["pictures_in"]["repeats_left_out"] == 1  # type: ignore[index, call-overload]


def test_class_folders_are_all_labelled_in(bundle: Bundle, tmp_path: Path) -> None:
    """A class of its own names is in-distribution; one that the bundle lacks is refused."""
    for seed, name in enumerate(("red", "blue")):
        write_pictures(tmp_path / "data" / name, 40, seed)
    assert recalibrate(bundle.path, [], [], tmp_path / "data", confidence=0.95).after.n == 80
    write_pictures(tmp_path / "data" / "banana", 1, 9)
    with pytest.raises(DataError, match="banana"):
        recalibrate(bundle.path, [], [], tmp_path / "data")


def test_thresholds_of_groups_stay_thresholds_of_groups(tmp_path: Path) -> None:
    """By the class that was predicted; labels that do not tell it are left out."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    write_pictures(tmp_path / "own", 600, 3)
    calibrate(bundle.path, tmp_path / "own", per_group=True)
    bundle = read_bundle(bundle.path)
    scores = np.random.default_rng(1).uniform(-1, 0, 300)
    asked = [(f"r{i}", float(score), "in" if i % 2 else "out") for i, score in enumerate(scores)]
    labels = [
        remembered(bundle.manifest, request_id, "in", score, decision, predicted=("red", "blue", None)[i % 3])
        for i, (request_id, score, decision) in enumerate(asked)
    ]
    verdicts = [verdict_line(bundle.manifest, *one) for one in asked]
    found = on_lines(bundle, verdicts, labels)
    assert {entry.group: entry.n for entry in found.after.group_thresholds} == {"warm": 100, "cool": 100}
    assert found.ignored[NO_GROUP] == 100


@pytest.mark.parametrize("what", ["calibration", "labels"])
def test_there_must_be_something_to_compare_with_and_something_labelled(tmp_path: Path, what: str) -> None:
    """One sentence each, with the remedy."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=what == "labels")
    expected = {"calibration": (CalibrationError, "mos-guard calibrate"), "labels": (SettingError, "--feedback")}[what]
    with pytest.raises(expected[0], match=expected[1]):
        recalibrate(bundle.path, [], [], None)


def test_the_command_tells_both_thresholds_and_writes_when_told(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without torch, and with the counts of what was used and ignored."""
    labels = [feedback_line(one[0], label_of(i)) for i, one in enumerate(served(bundle))] + [
        feedback_line("lost", "in")
    ]
    files = [
        *("--verdicts", write_lines(tmp_path / "verdicts.jsonl", verdict_lines(bundle))),
        *("--feedback", write_lines(tmp_path / "feedback.jsonl", labels)),
    ]
    arguments = ["recalibrate", "--bundle", bundle.path, *files, "--confidence", "0.95"]
    for write_it in (False, True):
        with pytest.raises(SystemExit) as done:
            main([str(part) for part in (*arguments, *(["--write"] if write_it else []))])
        assert done.value.code == 0
        said = capsys.readouterr().err
        after = read_bundle(bundle.path).calibration
        assert bundle.calibration is not None
        assert after is not None
        assert (after != bundle.calibration) == write_it
        assert f"threshold: {bundle.calibration.threshold:.6g} before" in said
        assert "used: 0 pictures and 400 labels" in said
        assert f"ignored: 1 {NO_VERDICT}" in said
        assert "labelled in, accepted: " in said
        assert "labelled out, let in: " in said
    assert f"{after.threshold:.6g} after" in said
