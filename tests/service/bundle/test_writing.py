"""What is written is read back, and whatever happens on the way, a whole bundle is on the disk."""

import json
import os
import random
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle, Group, Manifest, ReferenceScores, read_bundle, write_bundle, write_calibration
from service.errors import BundleError
from tests.service.bundle.parts import (
    CANARIES,
    MODEL,
    a_calibration,
    a_decision,
    a_grouped_calibration,
    a_manifest,
    a_part,
)


def test_what_is_written_is_read_back(bundle: Bundle) -> None:
    """Every field of every part survives, floats to the last bit."""
    assert read_bundle(bundle.path) == bundle
    assert bundle.manifest == a_manifest()
    assert bundle.calibration == a_calibration()
    assert bundle.canaries == CANARIES
    assert bundle.model_path.read_bytes() == MODEL


def test_a_decision_is_read_back(tmp_path: Path) -> None:
    """What decides survives with every part and parameter."""
    knn = a_part("knn", weight=0.7, mean=-0.81, deviation=0.04, parameters={"k": 5, "bank": {"pictures": 2000}})
    decision = a_decision(a_part("mos", mean=-0.3, deviation=0.2), knn, parameters={"pictures": 264})
    manifest = a_manifest(decision=decision)
    write_bundle(tmp_path / "b", manifest=manifest, model=MODEL)
    assert read_bundle(tmp_path / "b").manifest == manifest


@pytest.mark.parametrize("version", [1, 2])
def test_no_decision_leaves_no_trace_in_the_file(tmp_path: Path, version: int) -> None:
    """A bundle of schema 1 that is written again, with new metrics perhaps, has no field that its release lacks."""
    write_bundle(tmp_path / "b", manifest=a_manifest(schema_version=version), model=MODEL)
    document = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert document["schema_version"] == version
    assert "decision" not in document


def test_new_bundles_are_of_the_newest_schema(tmp_path: Path) -> None:
    """Whoever names no version writes the one that this release is made for."""
    manifest = Manifest(**a_manifest().model_dump(exclude={"schema_version"}))
    assert write_bundle(tmp_path / "b", manifest=manifest, model=MODEL).manifest.schema_version == 2


def test_files_are_the_ones_of_the_contract(tmp_path: Path) -> None:
    """Other programs find the parts by their names, and nothing else lies about."""
    write_bundle(
        tmp_path / "b",
        manifest=a_manifest(),
        model=MODEL,
        canaries=CANARIES,
        calibration=a_calibration(),
        card={"card.md": b"text", "card.png": b"picture"},
        detectors=b"npz",
        fitted=b"hashes",
    )
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "b/model.onnx",
        "b/bundle.json",
        "b/calibration.json",
        "b/card.md",
        "b/card.png",
        "b/detectors.npz",
        "b/fitted.npz",
        "b/canary/a.png",
        "b/canary/b.jpg",
        "b/canary/expected.json",
    }


def test_optional_parts_may_be_absent(tmp_path: Path) -> None:
    """A bundle before calibration is read as one without."""
    bundle = write_bundle(tmp_path / "b", manifest=a_manifest(), model=MODEL)
    assert (bundle.calibration, bundle.canaries) == (None, ())
    assert read_bundle(tmp_path / "b") == bundle


def test_floats_survive_json(tmp_path: Path) -> None:
    """A threshold that moved by one bit would move the border between in and out."""
    generator = random.Random(0)
    scores = sorted(-generator.random() for _ in range(2000))
    reference = ReferenceScores(ranks=list(range(1, 2001)), scores=scores)
    calibration = a_calibration(n=2000, threshold=scores[60], reference=reference)
    write_bundle(tmp_path / "b", manifest=a_manifest(), model=MODEL, calibration=calibration)
    assert read_bundle(tmp_path / "b").calibration == calibration


def test_a_bundle_is_readable_by_other_users(bundle: Bundle) -> None:
    """The service runs as another user than the one who trained."""
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((bundle.path / "calibration.json").stat().st_mode) == 0o666 & ~umask


def test_writing_replaces_an_older_bundle_whole(bundle: Bundle) -> None:
    """No file of the older bundle survives into the new one, and nothing is left beside it."""
    write_bundle(bundle.path, manifest=a_manifest(version="4"), model=MODEL)
    assert read_bundle(bundle.path).manifest.version == "4"
    assert sorted(path.name for path in bundle.path.iterdir()) == ["bundle.json", "model.onnx"]
    assert [path.name for path in bundle.path.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"manifest": a_manifest(model_sha256="0" * 64)}, "another model than the one given"),
        ({"calibration": a_calibration(model_sha256="0" * 64)}, "another model"),
        ({"calibration": a_calibration(preprocess_sha256="0" * 64)}, "another preprocessing"),
        (
            {
                "manifest": a_manifest(groups=[Group(name="all", classes=[0, 1, 2])]),
                "calibration": a_grouped_calibration(),
            },
            "group 'food', which the model lacks",
        ),
        ({"canaries": [CANARIES[0].model_copy(update={"class_index": 9})]}, r"Canary a\.png"),
        ({"canaries": [CANARIES[0], CANARIES[0]]}, "one name"),
    ],
)
def test_parts_that_do_not_fit_leave_everything_as_it_was(
    bundle: Bundle, parts: dict[str, Any], complaint: str
) -> None:
    """A refused bundle changes nothing on disk."""
    with pytest.raises(BundleError, match=complaint):
        write_bundle(bundle.path, **{"manifest": a_manifest(), "model": MODEL, **parts})
    assert read_bundle(bundle.path) == bundle
    assert [path.name for path in bundle.path.parent.iterdir()] == ["bundle"]


def test_a_directory_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    """A slip of the path must not cost somebody's files."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    with pytest.raises(BundleError, match="is no bundle"):
        write_bundle(tmp_path / "thesis", manifest=a_manifest(), model=MODEL)
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    """`mkdir` first is no mistake."""
    (tmp_path / "b").mkdir()
    assert write_bundle(tmp_path / "b", manifest=a_manifest(), model=MODEL) == read_bundle(tmp_path / "b")


def test_parent_directories_are_made(tmp_path: Path) -> None:
    """`runs/x/bundle` needs no preparation."""
    assert write_bundle(tmp_path / "runs" / "x" / "bundle", manifest=a_manifest(), model=MODEL).path.is_dir()


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(2))
@pytest.mark.parametrize("crash", [Crash, OSError])
def test_a_crash_while_replacing_loses_nothing(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, step: int, crash: type[BaseException]
) -> None:
    """Whichever rename fails, the older bundle is back in its place."""
    rename, calls = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == step + 1:
            raise crash
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(crash):
        write_bundle(bundle.path, manifest=a_manifest(version="4"), model=MODEL)
    assert read_bundle(bundle.path) == bundle


def test_a_kill_at_any_moment_of_replacing_leaves_a_whole_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after every rename and removal, at least one whole bundle is on the disk."""
    rename, rmtree, whole = Path.rename, shutil.rmtree, []

    def look() -> None:
        found = [path for path in bundle.path.parent.iterdir() if (path / "bundle.json").exists()]
        whole.append([read_bundle(path) for path in found])

    def watched(self: Path, target: Path) -> Path:
        look()
        result = rename(self, target)
        look()
        return result

    def watched_rmtree(path: Path, **options: Any) -> None:
        look()
        rmtree(path, **options)

    monkeypatch.setattr(Path, "rename", watched)
    monkeypatch.setattr(shutil, "rmtree", watched_rmtree)
    write_bundle(bundle.path, manifest=a_manifest(version="4"), model=MODEL)
    assert len(whole) >= 5
    assert all(whole)


def test_write_calibration_replaces_the_older_one(bundle: Bundle) -> None:
    """Calibrating again changes calibration.json alone."""
    write_calibration(bundle.path, a_calibration(threshold=-0.5))
    again = read_bundle(bundle.path)
    assert again.calibration == a_calibration(threshold=-0.5)
    assert (again.manifest, again.canaries) == (bundle.manifest, bundle.canaries)
    assert not [path for path in bundle.path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("field", ["model_sha256", "preprocess_sha256"])
def test_write_calibration_refuses_one_of_something_else(bundle: Bundle, field: str) -> None:
    """A calibration that reading would refuse is not written."""
    with pytest.raises(BundleError, match="calibrate"):
        write_calibration(bundle.path, a_calibration(**{field: "0" * 64}))
    assert read_bundle(bundle.path) == bundle


def test_write_calibration_refuses_a_group_that_the_model_lacks(bundle: Bundle) -> None:
    """Its threshold would be of nobody, and the group that was meant would have another."""
    grouped = a_grouped_calibration()
    unknown = grouped.group_thresholds[0].model_copy(update={"group": "cars"})
    with pytest.raises(BundleError, match="group 'cars', which the model lacks"):
        write_calibration(bundle.path, a_calibration(group_thresholds=[unknown]))
    write_calibration(bundle.path, grouped)
    assert read_bundle(bundle.path).calibration == grouped


def test_a_crash_while_calibrating_keeps_the_older_calibration(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """calibration.json is replaced whole or not at all."""

    def failing(self: Path, target: Path) -> Path:
        raise Crash

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(Crash):
        write_calibration(bundle.path, a_calibration(threshold=-0.5))
    assert read_bundle(bundle.path) == bundle
    assert not [path for path in bundle.path.iterdir() if path.name.startswith(".")]


def test_a_card_lies_beside_its_own_calibration_alone(bundle: Bundle) -> None:
    """Calibrating again replaces the card, and takes away what the new one does not have."""
    write_calibration(bundle.path, a_calibration(), {"card.md": b"text", "card.png": b"picture"})
    assert bundle.card == {"card.md": b"text", "card.png": b"picture"}
    write_calibration(bundle.path, a_calibration(threshold=-0.5), {"card.md": b"other"})
    assert bundle.card == {"card.md": b"other"}
    write_calibration(bundle.path, a_calibration())
    assert bundle.card == {}
    assert not [path for path in bundle.path.iterdir() if path.name.startswith(".")]
