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
from training.bundling.labels import NO_VERDICT, OTHER_THRESHOLD
from training.bundling.methods import Method
from training.bundling.recalibrate import SAME_REQUEST, SELECTED, THINNED, Recalibration, recalibrate, write
from training.errors import CalibrationError, DataError, SettingError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Calibrated, and to be changed."""
    return write_tiny_bundle(tmp_path / "bundle")


def threshold_of(bundle: Bundle) -> float:
    """The one in force."""
    assert bundle.calibration is not None
    return bundle.calibration.threshold


def served(bundle: Bundle, n: int = 400) -> list[tuple[str, float, str]]:
    """Request id, score and decision of n pictures."""
    scores = np.random.default_rng(5).uniform(-1, 0, n)
    accepted = accepts(scores, threshold_of(bundle))
    return [(f"r{i}", float(scores[i]), "in" if accepted[i] else "out") for i in range(n)]


def verdict_lines(bundle: Bundle) -> list[Line]:
    """Of all that was served."""
    return [verdict_line(bundle.manifest, *one, threshold=threshold_of(bundle)) for one in served(bundle)]


def label_of(number: int) -> str:
    """Every fifth picture is foreign."""
    return "out" if number % 5 == 0 else "in"


def on_lines(bundle: Bundle, verdicts: list[Line], feedback: list[Line], **options: float) -> Recalibration:
    """From files of lines alone, certified at 95 %."""
    folder = bundle.path.parent
    files = write_lines(folder / "verdicts.jsonl", verdicts), write_lines(folder / "feedback.jsonl", feedback)
    return recalibrate(bundle.path, [files[0]], [files[1]], None, confidence=0.95, **options)


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
    assert (found.labels, found.pictures, found.ignored.total()) == (400, 0, 0)
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
    """However many they are, and whether the verdict lines are of all pictures or of the rejected ones alone."""
    rejected = [remembered(bundle.manifest, one[0], "in", *one[1:]) for one in served(bundle) if one[2] == "out"]
    verdicts = verdict_lines(bundle)
    for given in (verdicts, [line for line in verdicts if line["decision"] == "out"]):
        with pytest.raises(CalibrationError, match="none of the labelled pictures was judged `in`"):
            on_lines(bundle, given, rejected)


def test_beside_pictures_a_selected_sample_is_left_out(bundle: Bundle, tmp_path: Path) -> None:
    """The pictures certify by themselves."""
    folder = write_pictures(tmp_path / "data" / "in", 80, 1).parent
    labels = [remembered(bundle.manifest, *(one[0], "in", *one[1:])) for one in served(bundle) if one[2] == "out"]
    verdicts = write_lines(tmp_path / "verdicts.jsonl", verdict_lines(bundle))
    feedback = write_lines(tmp_path / "feedback.jsonl", labels)
    found = recalibrate(bundle.path, [verdicts], [feedback], folder, confidence=0.95)
    assert (found.after.n, found.labels, found.pictures) == (80, 0, 80)
    assert found.ignored[SELECTED] == len(labels)


def test_labels_of_the_decision_that_was_asked_about_more_are_thinned(bundle: Bundle) -> None:
    """Every rejected picture was labelled, and every other accepted one: about half of the former count."""
    asked = [(i, one) for i, one in enumerate(served(bundle)) if one[2] == "out" or i % 2]
    labels = [remembered(bundle.manifest, one[0], label_of(i), *one[1:]) for i, one in asked]
    found = on_lines(bundle, verdict_lines(bundle), labels)
    rejected = sum(one[2] == "out" for _, one in asked)
    assert 0.2 * rejected < found.ignored[THINNED] < 0.8 * rejected
    assert found.labels == len(asked) - found.ignored[THINNED]


def test_lines_of_another_threshold_are_left_out_and_counted(bundle: Bundle) -> None:
    """Its `in` and `out` are of other pictures; nor do labels count whose verdict lines have rotated away."""
    labels = [remembered(bundle.manifest, one[0], label_of(i), *one[1:]) for i, one in enumerate(served(bundle))]
    others = [remembered(bundle.manifest, f"o{i}", "in", -0.001 * i, "in") for i in range(70)]
    of_others = [verdict_line(bundle.manifest, f"o{i}", -0.001 * i, "in", threshold=-0.99) for i in range(70)]
    lost = [feedback_line(f"l{i}", "in") for i in range(3)]
    found = on_lines(bundle, verdict_lines(bundle) + of_others, labels + others + lost)
    assert found.after.n == 320
    assert (found.ignored[OTHER_THRESHOLD], found.ignored[NO_VERDICT]) == (70, 3)


def test_one_label_of_a_request_counts(bundle: Bundle) -> None:
    """The others of a batch are left out and counted."""
    verdicts = verdict_lines(bundle)
    for number, line in enumerate(verdicts):
        line.update(request_id=f"r{number // 4}", index=number % 4)
    labels = [feedback_line(f"r{number // 4}", "in", index=number % 4) for number in range(400)]
    found = on_lines(bundle, verdicts, labels)
    assert (found.labels, found.ignored[SAME_REQUEST]) == (100, 300)


def test_too_few_labels_are_refused_with_what_was_ignored(bundle: Bundle) -> None:
    """The sentence says how many are needed."""
    labels = [remembered(bundle.manifest, one[0], "in", *one[1:]) for one in served(bundle)[:58]]
    lost = [feedback_line(f"l{i}", "in") for i in range(3)]
    verdicts = verdict_lines(bundle)[:58]
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
    assert ("labelled_out" in found.after.data) == with_out


def test_pictures_that_are_labelled_both_ways_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    """By their content, whatever they are called; a threshold would be certified on foreign ones."""
    inside = write_pictures(tmp_path / "data" / "in", 70, 1)
    (tmp_path / "data" / "out").mkdir()
    shutil.copy(inside / "007.png", tmp_path / "data" / "out" / "foreign.png")
    with pytest.raises(DataError, match=r"1 pictures of .*in are in .*out too, by their content: 007\.png"):
        recalibrate(bundle.path, [], [], tmp_path / "data", confidence=0.95)


def test_class_folders_are_all_labelled_in(bundle: Bundle, tmp_path: Path) -> None:
    """A class of its own names is in-distribution; one that the bundle lacks is refused."""
    for seed, name in enumerate(("red", "blue")):
        write_pictures(tmp_path / "data" / name, 40, seed)
    assert recalibrate(bundle.path, [], [], tmp_path / "data", confidence=0.95).after.n == 80
    write_pictures(tmp_path / "data" / "banana", 1, 9)
    with pytest.raises(DataError, match="banana"):
        recalibrate(bundle.path, [], [], tmp_path / "data")


def test_thresholds_of_groups_stay_thresholds_of_groups(tmp_path: Path) -> None:
    """By the class that was predicted."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    write_pictures(tmp_path / "own", 600, 3)
    calibrate(bundle.path, tmp_path / "own", per_group=True)
    bundle = read_bundle(bundle.path)
    assert bundle.calibration is not None
    thresholds = dict(zip(("warm", "cool"), bundle.calibration.thresholds(["warm", "cool"]), strict=True))
    verdicts = []
    for number, score in enumerate(np.random.default_rng(1).uniform(-1, 0, 300)):
        label, group = (("red", "warm"), ("blue", "cool"))[number % 2]
        decision = "in" if score >= thresholds[group] else "out"
        of_group = {"label": label, "group": group, "threshold": thresholds[group]}
        verdicts.append(verdict_line(bundle.manifest, f"r{number}", float(score), decision, **of_group))
    found = on_lines(bundle, verdicts, [feedback_line(line["request_id"], "in") for line in verdicts])
    assert {entry.group: entry.n for entry in found.after.group_thresholds} == {"warm": 150, "cool": 150}


def test_there_must_be_a_calibration_to_compare_with(tmp_path: Path) -> None:
    """One sentence, with the remedy."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    with pytest.raises(CalibrationError, match="mos-guard calibrate"):
        recalibrate(bundle.path, [], [], None)


@pytest.mark.parametrize(
    ("verdicts", "feedback", "expected"),
    [
        (0, 0, "Nothing is labelled; give --feedback and --verdicts"),
        (1, 0, "Verdict lines come without labels; give --feedback"),
        (0, 1, "Labels come without verdict lines.* give --verdicts"),
    ],
)
def test_what_is_missing_is_said(bundle: Bundle, tmp_path: Path, verdicts: int, feedback: int, expected: str) -> None:
    """Before any file is read."""
    file = tmp_path / "nowhere.jsonl"
    with pytest.raises(SettingError, match=expected):
        recalibrate(bundle.path, [file] * verdicts, [file] * feedback, None)


def test_what_the_card_would_no_longer_tell_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Foreign sets and accuracy are not measured here; and another method becomes certified."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    for seed, name in enumerate(CLASSES):
        write_pictures(tmp_path / "own" / name, 20, seed)
    strangers = {"noise": write_pictures(tmp_path / "noise", 5, 77)}
    calibrate(bundle.path, tmp_path / "own", method=Method.CONFORMAL, strangers=strangers)
    inside = write_pictures(tmp_path / "data" / "in", 70, 91)
    write_pictures(tmp_path / "data" / "out", 4, 92)
    with pytest.raises(SystemExit):
        main(["recalibrate", "--bundle", str(bundle.path), "--data", str(inside.parent), "--write"])
    said = capsys.readouterr().err
    assert "method: conformal before, certified after" in said
    assert "the card would no longer tell what gets in of noise" in said
    assert "the card would no longer tell the accuracy on accepted pictures" in said
    assert said.index("no longer tell") < said.index("wrote the calibration")
    assert "Of 4 pictures that were labelled out" in (bundle.path / "card.md").read_text()


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
