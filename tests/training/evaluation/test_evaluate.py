"""Evaluation of a small real bundle: what is in the results, what is left out, what is refused."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from service.bundle import Bundle, GroupThreshold, read_bundle, write_bundle, write_calibration
from tests.tiny_bundle import CLASSES, png, write_tiny_bundle
from training.detectors import DETECTORS, FitData, Head, Outputs
from training.detectors.fitted import detectors_file, fit_statistics
from training.errors import DataError
from training.evaluation import collection, report
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.record import bundle_metrics, record
from training.reproduction import settings
from training.scoring.pictures import score_pictures

GENERATOR = np.random.default_rng(0)
PER_CLASS = 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`id`: class folders of noisy colours; `grey` and `noise`: OOD sets; `audit.csv` on `grey`."""
    root = tmp_path_factory.mktemp("pictures")
    for name, colour in CLASSES.items():
        for index in range(PER_CLASS):
            noisy = np.clip(235 * np.array(colour) + GENERATOR.integers(-20, 60, 3), 0, 255)
            save(root / "id" / name / f"{index}.png", png((int(noisy[0]), int(noisy[1]), int(noisy[2]))))
    for index in range(30):
        level = 100 + 2 * index
        save(root / "grey" / f"{index}.png", png((level, level, level)))
        noise = Image.fromarray(GENERATOR.integers(0, 256, (9, 9, 3), np.uint8))
        buffer = io.BytesIO()
        noise.save(buffer, "PNG")
        save(root / "noise" / f"{index}.png", buffer.getvalue())
    rows = [f"{index},grey/{index}.png,{'o' if index < 20 else 'i'}" for index in range(25)]
    (root / "audit.csv").write_text("\n".join(["index,image_location,decision", *rows]) + "\n")
    return root


def save(file: Path, encoded: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded)


def head() -> Head:
    """A flat head on the tiny model's features."""
    weights = np.random.default_rng(1).normal(0, 4, (len(CLASSES), 12)).astype(np.float32)
    return Head(weights, np.zeros(len(CLASSES), np.float32))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a flat head and no statistics; its backbone has no torch network."""
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bare") / "bundle")
    (bundle.path / "detectors.npz").write_bytes(detectors_file(head(), {}))
    return bundle


@pytest.fixture(scope="module")
def fitted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same bundle with the statistics of every detector."""
    from training.data.sets import read_data_set

    bundle = write_tiny_bundle(tmp_path_factory.mktemp("fitted") / "bundle")
    data = read_data_set(pictures / "id", bundle.manifest.classes)
    seen = score_pictures(bundle, data, ["features", "others_scores"])
    outputs = Outputs(seen["features"], seen["others_scores"], head().logits(seen["features"]), head())
    statistics = fit_statistics(FitData(outputs, data.labels, outputs, data.labels))
    (bundle.path / "detectors.npz").write_bytes(detectors_file(head(), statistics))
    return bundle


def judge(bundle: Bundle, pictures: Path, scratch: Path, detectors: list[str], **options: object) -> Evaluation:
    sets = {"grey": pictures / "grey", "noise": pictures / "noise"}
    return evaluate(bundle.path, pictures / "id", sets, detectors, scratch=scratch, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(fitted: Bundle, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Every detector that can run, with an audit."""
    scratch = tmp_path_factory.mktemp("arrays")
    return judge(fitted, pictures, scratch, list(DETECTORS), audits={"grey": pictures / "audit.csv"})


def test_figures_follow_from_the_written_scores_by_scikit_learn_alone(whole: Evaluation, tmp_path: Path) -> None:
    """AUROC, AUPR and FPR95 of every detector on every set, cleaned one included, and the accuracy."""
    report.write(whole, tmp_path / "report")
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    with np.load(tmp_path / "report" / "scores.npz") as scores:
        for detector, by_set in results.items():
            assert list(by_set) == ["grey", "grey.cleaned", "noise"]
            for name, figures in by_set.items():
                id_scores, ood_scores = scores[f"id/{detector}"], scores[f"{name}/{detector}"]
                labels, both = (
                    np.repeat([1, 0], [len(id_scores), len(ood_scores)]),
                    np.concatenate([id_scores, ood_scores]),
                )
                threshold = np.sort(id_scores)[len(id_scores) // 20]
                assert figures["auroc"] == pytest.approx(roc_auc_score(labels, both))
                assert figures["aupr_in"] == pytest.approx(average_precision_score(labels, both))
                assert figures["aupr_out"] == pytest.approx(average_precision_score(1 - labels, -both))
                assert figures["fpr95"] == pytest.approx((ood_scores >= threshold).mean())
                assert (figures["n_in"], figures["n_out"]) == (len(id_scores), len(ood_scores))
                low, high = figures["auroc_interval"]
                assert low <= figures["auroc"] <= high
        right = scores["id/flat_logits"].argmax(axis=1) == scores["id/labels"]
        assert whole.accuracy["flat"] == pytest.approx(right.mean())
        assert {f"{name}/{key}" for name in ("id", "noise") for key in ("logits", "features", "others_scores")} <= set(
            scores
        )


def test_every_detector_but_odin_runs_and_that_is_said(whole: Evaluation) -> None:
    """The tiny model has no torch network, so odin has no gradients; all others have what they need."""
    assert set(whole.results) == set(DETECTORS) - {"odin"}
    assert any("odin cannot run" in note for note in whole.notes)


def test_detectors_without_statistics_are_left_out_with_the_remedy(
    bare: Bundle, pictures: Path, tmp_path: Path
) -> None:
    """Asked for all, those that fit something do not run, each with a sentence."""
    evaluation = judge(bare, pictures, tmp_path, list(DETECTORS))
    assert set(evaluation.results) == {name for name, entry in DETECTORS.items() if entry.fit is None} - {"odin"}
    assert any(note.startswith("vim") and "export the bundle again" in note for note in evaluation.notes)


@pytest.mark.parametrize("name", ["vim", "odin"])
def test_a_detector_asked_for_by_name_must_run(bare: Bundle, pictures: Path, tmp_path: Path, name: str) -> None:
    """Silence would be taken for a result."""
    with pytest.raises(DataError, match=name):
        judge(bare, pictures, tmp_path, ["mos", name])


def test_an_audited_set_is_there_whole_and_cleaned(whole: Evaluation) -> None:
    """20 of 30 pictures are judged OOD; the averages do not count them again."""
    assert whole.results["mos"]["grey"]["n_out"] == 30
    assert whole.results["mos"]["grey.cleaned"]["n_out"] == 20
    assert whole.scores["grey.cleaned"]["mos"].tolist() == [
        score
        for score, path in zip(whole.scores["grey"]["mos"], sorted(f"{i}.png" for i in range(30)), strict=True)
        if int(path.removesuffix(".png")) < 20
    ]
    raw = [whole.results["mos"][name]["auroc"] for name in ("grey", "noise")]
    assert whole.averages["mos"]["auroc"] == pytest.approx(np.mean(raw))
    assert any(note.startswith("grey: audited, 20 OOD, 5 ID") for note in whole.notes)


def test_the_convention_of_fpr95_is_the_settings(bare: Bundle, pictures: Path, tmp_path: Path) -> None:
    """72 ID pictures: 68 of them are nearer to 95 % than the 69 that the paper's convention keeps."""
    evaluation = judge(bare, pictures, tmp_path, ["msp"], settings=settings("official"))
    id_scores, ood_scores = (evaluation.scores[name]["msp"] for name in ("id", "noise"))
    candidates = np.unique(np.concatenate([id_scores, ood_scores]))
    kept = np.array([(id_scores >= score).mean() for score in candidates])
    nearest = candidates[np.argmin(np.abs(kept - 0.95))]
    assert evaluation.results["msp"]["noise"]["fpr95"] == pytest.approx((ood_scores >= nearest).mean())


@pytest.fixture(scope="module")
def few(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in folders of two classes of the shipped bundle."""
    root = tmp_path_factory.mktemp("few")
    for name, source in (("apple", "red"), ("sea", "blue")):
        for file in list((pictures / "id" / source).iterdir())[:4]:
            save(root / name / file.name, file.read_bytes())
    return root


@pytest.mark.numeric
def test_odins_second_pass_is_through_the_bundles_own_network(few: Path, pictures: Path, tmp_path: Path) -> None:
    """Without a step its logits are those of the ONNX features; with the paper's they are others."""
    logits = {}
    for source in ("official", "paper"):
        shipped = Path(__file__).parents[3] / "service" / "default_bundle"
        judged = evaluate(
            shipped, few, {"grey": pictures / "grey"}, ["odin"], scratch=tmp_path / source, settings=settings(source)
        )
        logits[source] = judged.scores["id"]["perturbed_logits"]
        assert judged.times.own_pass_ms["odin"] > 0
        assert judged.times.total_ms("odin") > judged.times.forward_ms + judged.times.own_pass_ms["odin"]
        assert judged.scores["grey"]["perturbed_logits"].shape == (30, 100)
    assert logits["official"] == pytest.approx(judged.scores["id"]["flat_logits"], abs=0.05)
    assert np.abs(logits["paper"] - judged.scores["id"]["flat_logits"]).max() > 0.05


def test_times_are_of_the_detectors_that_ran(whole: Evaluation) -> None:
    """Forward pass and scores apart; a total is their sum."""
    times = whole.times
    assert set(times.score_ms) == set(whole.results)
    assert min(times.forward_ms, times.flat_head_ms, *times.score_ms.values()) > 0
    assert times.total_ms("mos") == times.forward_ms + times.score_ms["mos"]


@pytest.mark.parametrize(
    ("sets", "detectors", "audits", "message"),
    [
        ({"id": "grey"}, ["mos"], {}, "other than `id`"),
        ({}, ["mos"], {}, "at least one OOD set"),
        ({"a/b": "grey"}, ["mos"], {}, "'a/b' cannot name"),
        ({"a.cleaned": "grey"}, ["mos"], {}, "'a.cleaned' cannot name"),
        ({"grey": "grey"}, ["klingon"], {}, "no detector klingon"),
        ({"grey": "grey"}, ["mos"], {"gray": "audit.csv"}, "audit of 'gray'"),
        ({"grey": "nowhere"}, ["mos"], {}, "nowhere"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    bare: Bundle,
    pictures: Path,
    tmp_path: Path,
    sets: dict[str, str],
    detectors: list[str],
    audits: dict[str, str],
    message: str,
) -> None:
    """Before anything is scored."""
    with pytest.raises(DataError, match=message):
        evaluate(
            bare.path,
            pictures / "id",
            {name: pictures / folder for name, folder in sets.items()},
            detectors,
            scratch=tmp_path,
            audits={name: pictures / file for name, file in audits.items()},
        )


def test_what_is_wide_lies_on_the_disk_and_scores_in_memory(whole: Evaluation) -> None:
    """Memory does not grow with the number of pictures beyond their scores; a cleaned set is no exception."""
    for values in whole.scores.values():
        for name in ("features", "logits", "flat_logits", "others_scores"):
            assert isinstance(values[name], np.memmap), name
        for name in ("mos", "mahalanobis", "score"):
            assert not isinstance(values[name], np.memmap), name


def test_detectors_score_in_pieces_what_they_score_at_once(
    fitted: Bundle, pictures: Path, whole: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture's score does not depend on which others are read with it."""
    monkeypatch.setattr(collection, "ROWS", 7)
    pieces = judge(fitted, pictures, tmp_path, list(DETECTORS), audits={"grey": pictures / "audit.csv"})
    for name in ("id", "grey", "grey.cleaned"):
        for array in (*pieces.results, "features", "class_index"):
            expected = whole.scores[name][array]
            np.testing.assert_allclose(pieces.scores[name][array], expected, rtol=1e-4, atol=1e-5)


def test_scores_that_are_not_finite_name_the_detector_and_the_set(bare: Bundle, pictures: Path, tmp_path: Path) -> None:
    """A head with an infinite weight, as a damaged file would have."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    damaged = head()
    damaged.weight[0] = np.inf
    (bundle.path / "detectors.npz").write_bytes(detectors_file(damaged, {}))
    with np.errstate(invalid="ignore"), pytest.raises(DataError, match=r"energy .* not finite on the ID set"):
        judge(bundle, pictures, tmp_path / "arrays", ["mos", "energy"])


def test_recording_keeps_the_plain_figures(bare: Bundle, pictures: Path, tmp_path: Path) -> None:
    """The manifest gets them without intervals; the flat head stays."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    (bundle.path / "detectors.npz").write_bytes(detectors_file(head(), {}))
    evaluation = judge(bundle, pictures, tmp_path / "arrays", ["mos", "msp"])
    record(bundle, evaluation)
    metrics = read_bundle(bundle.path).manifest.metrics
    assert metrics == bundle_metrics(evaluation)
    assert set(metrics["ood"]["mos"]["grey"]) == {"auroc", "fpr95", "aupr_in", "aupr_out", "n_in", "n_out"}
    assert (bundle.path / "detectors.npz").read_bytes() == detectors_file(head(), {})


def test_what_is_judged_in_is_by_the_threshold_of_the_predicted_group(
    bare: Bundle, pictures: Path, tmp_path: Path
) -> None:
    """As the service decides: a group that lets nothing in takes its third of the pictures away."""
    assert bare.calibration is not None
    before = judge(bare, pictures, tmp_path / "before", ["mos"]).accepted
    strict = GroupThreshold(group="cool", threshold=1.0, n=60, k=1, tpr_interval=(0.9, 1.0))
    bundle = read_bundle(shutil.copytree(bare.path, tmp_path / "bundle"))
    write_calibration(bundle.path, bare.calibration.model_copy(update={"group_thresholds": [strict]}))
    after = judge(bundle, pictures, tmp_path / "after", ["mos"])
    groups = np.array(after.group_of_class)[after.scores["id"]["class_index"]]
    expected = (after.scores["id"]["score"] >= bare.calibration.threshold) & (groups != after.groups.index("cool"))
    assert after.accepted["id"] == pytest.approx(expected.mean())
    assert after.accepted["id"] < before["id"] - 0.2


def test_recording_leaves_other_figures_and_the_card_alone(pictures: Path, tmp_path: Path) -> None:
    """What another command has put beside the figures of an evaluation is still there."""
    tiny = write_tiny_bundle(tmp_path / "bundle")
    bundle = write_bundle(
        tiny.path,
        manifest=tiny.manifest.model_copy(update={"metrics": {"siblings": {"auroc": 0.7}, "top1": "old"}}),
        model=tiny.model_path.read_bytes(),
        card={"card.md": b"text"},
        detectors=detectors_file(head(), {}),
        fitted=b"hashes",
    )
    evaluation = judge(bundle, pictures, tmp_path / "arrays", ["mos"])
    record(bundle, evaluation)
    assert (bundle.path / "fitted.npz").read_bytes() == b"hashes"
    recorded = read_bundle(bundle.path)
    assert recorded.manifest.metrics == bundle_metrics(evaluation) | {"siblings": {"auroc": 0.7}}
    assert recorded.card == {"card.md": b"text"}


def test_scoring_needs_neither_torch_nor_what_judges() -> None:
    """The scoring half runs inside the service image, where torch, scikit-learn and matplotlib are not installed."""
    check = "import sys, training.evaluation.evaluate; assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[3], timeout=120)
    assert done.returncode == 0
