"""The threshold keeps what it promises, or is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.bundle import Bundle, read_bundle
from service.errors import BundleError
from service.verdict import accepts
from tests.tiny_bundle import write_tiny_bundle
from tests.training.bundling.scores import certified, scored
from training import progress
from training.bundling import calibrate as job
from training.bundling.calibrate import calibrate, fit
from training.bundling.guarantee import rank, threshold_rank
from training.bundling.methods import Method
from training.data.sets import read_data_set, read_pictures
from training.errors import CalibrationError, DataError
from training.scoring.pictures import score_pictures


def test_the_threshold_accepts_all_but_k_minus_1_of_its_scores(tiny_bundle: Bundle) -> None:
    """With distinct scores the k-th smallest is itself accepted; ties only accept more."""
    scores = np.random.default_rng(1).uniform(-1, 0, 1000)
    done = fit(scored(scores), tiny_bundle, certified(0.95), data={})
    assert (done.n, done.k) == (1000, 39)
    assert int((~accepts(scores, done.threshold)).sum()) == 38
    tied = fit(scored(np.repeat(scores[:100], 10)), tiny_bundle, certified(0.95), data={})
    assert int((~accepts(np.repeat(scores[:100], 10), tied.threshold)).sum()) <= 38


def test_scores_that_are_not_numbers_are_refused(tiny_bundle: Bundle) -> None:
    """One NaN among the scores is a broken model, not a threshold."""
    scores = np.full(100, -0.5)
    scores[7] = np.nan
    with pytest.raises(CalibrationError, match="not numbers"):
        fit(scored(scores), tiny_bundle, certified(0.95), data={})


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


@pytest.mark.parametrize("method", Method)
def test_the_method_sets_the_rank_and_is_told(tmp_path: Path, demo_data: dict[str, Path], method: Method) -> None:
    """The same scores, and another promise."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    done = calibrate(bundle.path, demo_data["train"], method=method)
    assert (done.method, done.k) == (method, rank(method, 225, 0.95, 0.95))
    assert read_bundle(bundle.path).calibration == done
    assert f"| **{method} (chosen)** |" in (bundle.path / "card.md").read_text()


def test_per_group_each_predicted_group_has_its_threshold(tmp_path: Path, demo_data: dict[str, Path]) -> None:
    """Where there are 59 of its pictures, of which the k-th lowest is it; shares and card go by those."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    strangers = {"stripes": demo_data["stripes"]}
    done = calibrate(bundle.path, demo_data["train"], per_group=True, strangers=strangers)
    manifest, data = bundle.manifest, read_pictures(demo_data["train"])
    groups_and_scores = []
    for pictures in (data, read_pictures(demo_data["stripes"])):
        outputs = score_pictures(bundle, pictures, ["score", "class_index"])
        groups_and_scores.append((np.array(manifest.group_of_class)[outputs["class_index"]], outputs["score"]))
    (groups, scores), (foreign_groups, foreign) = groups_and_scores
    counts = {group.name: int((groups == place).sum()) for place, group in enumerate(manifest.groups)}
    assert {entry.group: entry.n for entry in done.group_thresholds} == {k: n for k, n in counts.items() if n >= 59}
    assert done.group_thresholds
    for entry in done.group_thresholds:
        of_group = np.sort(scores[groups == [group.name for group in manifest.groups].index(entry.group)])
        assert (entry.k, entry.threshold) == (threshold_rank(entry.n, 0.95, 0.95), float(of_group[entry.k - 1]))
    thresholds = np.array(done.thresholds([group.name for group in manifest.groups]))
    chosen = next(point for point in done.operating_points if point.tpr == 0.95)
    assert chosen.strangers["stripes"].scaled.share == (foreign >= thresholds[foreign_groups]).mean()
    card = (bundle.path / "card.md").read_text()
    assert all(f"| {name} |" in card for name in counts)
    assert read_bundle(bundle.path).calibration == done


def test_pictures_that_were_fitted_on_are_refused(exported: Bundle, demo_data: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is written; the run's held-out pictures alone may calibrate."""
    bundle = shutil.copytree(exported.path, tmp_path / "bundle")
    with pytest.raises(DataError, match="were fitted on"):
        calibrate(bundle, demo_data["train"])
    assert not (bundle / "calibration.json").exists()


def test_copies_do_not_make_enough_pictures(tmp_path: Path, demo_data: dict[str, Path]) -> None:
    """Fifty pictures and nine of them again are fifty."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    data = shutil.copytree(demo_data["stripes"], tmp_path / "data")
    for number, file in enumerate(sorted(data.rglob("*.png"))[:9]):
        shutil.copy(file, data / f"again-{number}.png")
    with pytest.raises(CalibrationError, match="50 pictures"):
        calibrate(bundle.path, data)


def test_labels_stay_with_their_pictures_where_copies_are_left_out(
    exported: Bundle, finished_run: Path, tmp_path: Path
) -> None:
    """Accuracy is that of the pictures without their copies, wherever in the list those stand."""
    held_out = (finished_run / "calibration.txt").read_text().splitlines(keepends=True)
    figures = []
    for name, listed in (("once", held_out), ("twice", held_out[: len(held_out) // 2] + held_out)):
        (tmp_path / f"{name}.txt").write_text("".join(listed))
        bundle = shutil.copytree(exported.path, tmp_path / name)
        done = calibrate(bundle, tmp_path / f"{name}.txt", tpr=0.9)
        figures.append((done.n, done.threshold, [point.accuracy_on_accepted for point in done.operating_points]))
    assert figures[0] == figures[1]


def test_hashing_and_scoring_show_how_far_they_are(
    tmp_path: Path, demo_data: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each now and then where there is no terminal, and a bar on one."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0)
    calibrate(bundle.path, demo_data["train"])
    said = capsys.readouterr().err
    assert "hashing pictures: 1 of 1" in said
    assert "scoring: 4 of 4" in said
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    calibrate(bundle.path, demo_data["train"])
    drawn = capsys.readouterr().err
    assert "hashing pictures" in drawn
    assert "4/4" in drawn


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


def test_a_tpr_is_said_as_it_was_typed(tmp_path: Path, demo_data: dict[str, Path]) -> None:
    """99.99 % is not 100 %."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    with pytest.raises(CalibrationError, match=r"threshold at 99\.99 % and 99\.9 % confidence; give at least"):
        calibrate(bundle.path, demo_data["stripes"], tpr=0.9999, confidence=0.999)
    with pytest.raises(CalibrationError, match=r"to promise 99\.99 % with 99\.9 % confidence"):
        threshold_rank(50, 0.9999, 0.999)


@pytest.mark.parametrize("width", [0.0, 1.0, 1e-7])
def test_an_impossible_width_is_refused_before_any_is_scored(
    tmp_path: Path, demo_data: dict[str, Path], monkeypatch: pytest.MonkeyPatch, width: float
) -> None:
    """Scoring takes hours, and the sentence needs none of it."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    monkeypatch.setattr(job, "score_pictures", lambda *_: pytest.fail("scored"))
    with pytest.raises(CalibrationError, match=r"width|narrows"):
        calibrate(bundle.path, demo_data["train"], interval_width=width)


def test_operating_points_follow_from_the_scores(
    exported: Bundle, finished_run: Path, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """Each threshold is an order statistic, and each share a count, of the scores of the model that is served."""
    bundle = read_bundle(shutil.copytree(exported.path, tmp_path / "bundle"))
    held_out = finished_run / "calibration.txt"
    done = calibrate(bundle.path, held_out, tpr=0.9, strangers={"stripes": demo_data["stripes"]})
    data = read_data_set(held_out, bundle.manifest.classes)
    own = score_pictures(bundle, data, ["score", "class_index"])
    foreign = score_pictures(bundle, read_pictures(demo_data["stripes"]), ["score"])["score"]
    assert [point.tpr for point in done.operating_points] == [0.95, 0.9, 0.8]
    for point in done.operating_points:
        assert point.k == threshold_rank(len(data), point.tpr, 0.95)
        assert point.threshold == sorted(own["score"].tolist())[point.k - 1]
        accepted = own["score"].astype(float) >= point.threshold
        right = own["class_index"] == data.labels
        assert point.accuracy_on_accepted == pytest.approx(right[accepted].mean())
        share = (foreign.astype(float) >= point.threshold).mean()
        assert point.strangers["stripes"].scaled.share == pytest.approx(share)
    assert read_bundle(bundle.path).calibration == done


def test_pictures_of_other_classes_have_no_accuracy(tmp_path: Path, demo_data: dict[str, Path]) -> None:
    """Folders that are no classes of the bundle calibrate it as before, and nothing is claimed about their classes."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    done = calibrate(bundle.path, demo_data["train"])
    assert done.operating_points
    assert {point.accuracy_on_accepted for point in done.operating_points} == {None}
    assert done.strangers is None


def test_a_picture_outside_the_class_folders_is_calibrated_on_too(
    exported: Bundle, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """Labels never cost a picture: where one has none, all are taken without."""
    bundle = shutil.copytree(exported.path, tmp_path / "bundle")
    data = shutil.copytree(demo_data["test"], tmp_path / "data")
    Image.new("RGB", (32, 32), "red").save(data / "stray.png")
    done = calibrate(bundle, data)
    assert done.n == 226
    assert done.operating_points[0].accuracy_on_accepted is None


def test_a_calibration_puts_its_card_beside_itself(tmp_path: Path, demo_data: dict[str, Path]) -> None:
    """Text and picture are in the bundle, and calibrating again replaces them."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    calibrate(bundle.path, demo_data["train"])
    first = bundle.card
    assert set(first) == {"card.md", "card.png"}
    calibrate(bundle.path, demo_data["train"], tpr=0.8, strangers={"stripes": demo_data["stripes"]})
    assert all(bundle.card[name] != first[name] for name in first)


def test_a_folder_without_strangers_is_refused_before_any_is_scored(
    tmp_path: Path, demo_data: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the folder, and no calibration is written."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    monkeypatch.setattr(job, "score_pictures", lambda *_: pytest.fail("scored"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        calibrate(bundle.path, demo_data["train"], strangers={"nothing": tmp_path / "empty"})
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
