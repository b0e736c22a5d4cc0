"""The bundle: what is written is read back, and what does not fit together is refused."""

import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.bundle import (
    Bundle,
    Calibration,
    Canary,
    Group,
    InputSpec,
    Manifest,
    ReferenceScores,
    read_bundle,
    sha256_hex,
    write_bundle,
    write_calibration,
)
from service.errors import BundleError

MODEL = b"not really a model, but it has a hash"
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "schema_version": 1,
        "name": "pets",
        "version": "3",
        "created": CREATED,
        "model_sha256": sha256_hex(MODEL),
        "input": InputSpec(height=32, width=48),
        "classes": ["cat", "dog", "apple"],
        "groups": [Group(name="animal", classes=[1, 0]), Group(name="food", classes=[2])],
        "backbone": "R50x1",
        "precision": "float32",
        "training": {"seed": 7, "command": ["train"]},
        "metrics": {"accuracy": 0.5},
    }
    return Manifest(**{**fields, **changes})


def a_calibration(**changes: Any) -> Calibration:
    fields: dict[str, Any] = {
        "threshold": -0.8717948794364929,
        "tpr": 0.95,
        "confidence": 0.99,
        "method": "clopper-pearson",
        "n": 100,
        "k": 3,
        "tpr_interval": (0.9, 0.99),
        "model_sha256": sha256_hex(MODEL),
        "preprocess_sha256": InputSpec(height=32, width=48).sha256,
        "created": CREATED,
        "data": {"sha256": "0" * 64},
        "reference": ReferenceScores(ranks=[1, 50, 100], scores=[-0.9, -0.5, -0.5]),
    }
    return Calibration(**{**fields, **changes})


CANARIES = (
    Canary(name="a.png", encoded=b"\x89PNG", class_index=0, score=-0.1, others_scores=(0.1, 0.9)),
    Canary(name="b.jpg", encoded=b"\xff\xd8\xff", class_index=2, score=-0.9, others_scores=(0.95, 0.9)),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A whole bundle in a folder of its own."""
    return write_bundle(
        tmp_path / "bundle", manifest=a_manifest(), model=MODEL, canaries=CANARIES, calibration=a_calibration()
    )


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the JSON document at *path*."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_is_written_is_read_back(bundle: Bundle) -> None:
    """Every field of every part survives, floats to the last bit."""
    assert read_bundle(bundle.path) == bundle
    assert bundle.manifest == a_manifest()
    assert bundle.calibration == a_calibration()
    assert bundle.canaries == CANARIES
    assert bundle.model_path.read_bytes() == MODEL


def test_files_are_the_ones_of_the_contract(tmp_path: Path) -> None:
    """Other programs find the parts by their names, and nothing else lies about."""
    write_bundle(
        tmp_path / "b",
        manifest=a_manifest(),
        model=MODEL,
        canaries=CANARIES,
        calibration=a_calibration(),
        detectors=b"npz",
    )
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "b/model.onnx",
        "b/bundle.json",
        "b/calibration.json",
        "b/detectors.npz",
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


# --- What reading refuses ---


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "canary/expected.json", "canary/a.png"])
def test_a_missing_file_is_refused(bundle: Bundle, name: str) -> None:
    """The sentence names the file."""
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=name):
        read_bundle(bundle.path)


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    """A wrong path is told from a broken bundle."""
    with pytest.raises(BundleError, match="no bundle directory"):
        read_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["bundle.json", "calibration.json", "canary/expected.json"])
@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"null", b"[" * 100_000, b'{"a": 1}'])
def test_malformed_json_is_refused(bundle: Bundle, name: str, text: bytes) -> None:
    """Whatever the file holds, reading ends in BundleError."""
    (bundle.path / name).write_bytes(text)
    with pytest.raises(BundleError, match=name):
        read_bundle(bundle.path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_schema_version_is_refused_first(bundle: Bundle, version: object) -> None:
    """A bundle of another release is named as such, whatever else its manifest holds."""
    edit(bundle.path / "bundle.json", lambda manifest: manifest.update(schema_version=version, from_the_future=True))
    with pytest.raises(BundleError, match="schema version"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("content", [b"", MODEL + b"\0", MODEL[:-1], MODEL.swapcase()])
def test_another_model_is_refused(bundle: Bundle, content: bytes) -> None:
    """One changed byte is enough."""
    bundle.model_path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx is not the model"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(("field", "what"), [("model_sha256", "model"), ("preprocess_sha256", "preprocessing")])
def test_a_calibration_of_something_else_is_refused(bundle: Bundle, field: str, what: str) -> None:
    """The threshold holds for one model and one preprocessing; the remedy is to calibrate."""
    edit(bundle.path / "calibration.json", lambda calibration: calibration.update({field: "0" * 64}))
    with pytest.raises(BundleError, match=f"another {what}.*calibrate"):
        read_bundle(bundle.path)


def test_a_changed_input_size_refuses_the_calibration(bundle: Bundle) -> None:
    """Whoever edits the preprocessing by hand is stopped."""
    edit(bundle.path / "bundle.json", lambda manifest: manifest["input"].update(height=64))
    with pytest.raises(BundleError, match="another preprocessing"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("field", ["class_index", "others_scores"])
def test_a_canary_of_other_classes_is_refused(bundle: Bundle, field: str) -> None:
    """Expectations must fit the classes and groups."""
    wrong = {"class_index": 3, "others_scores": [0.1, 0.2, 0.3]}[field]
    edit(bundle.path / "canary" / "expected.json", lambda file: file["canaries"][0].update({field: wrong}))
    with pytest.raises(BundleError, match=r"a\.png"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/hostname", "..", "a/b.png", ".hidden", "", "expected.json"])
def test_a_canary_name_cannot_leave_its_folder(bundle: Bundle, name: str) -> None:
    """Names in expected.json are file names and nothing more."""
    edit(bundle.path / "canary" / "expected.json", lambda file: file["canaries"][0].update(name=name))
    with pytest.raises(BundleError, match=r"expected\.json"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("name", ["canary/a.png", "bundle.json", "calibration.json", "model.onnx"])
def test_a_link_out_of_the_bundle_is_not_followed(bundle: Bundle, tmp_path: Path, name: str) -> None:
    """A bundle from elsewhere cannot make the service read its host's files."""
    outside = tmp_path / "outside"
    shutil.move(bundle.path / name, outside)
    (bundle.path / name).symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        read_bundle(bundle.path)


def test_a_dangling_calibration_link_is_not_taken_for_absence(bundle: Bundle) -> None:
    """A calibration that cannot be read is an error, not an uncalibrated bundle."""
    (bundle.path / "calibration.json").unlink()
    (bundle.path / "calibration.json").symlink_to("gone.json")
    with pytest.raises(BundleError, match=r"calibration\.json"):
        read_bundle(bundle.path)


def test_a_linked_bundle_is_read(bundle: Bundle, tmp_path: Path) -> None:
    """Deployments switch bundles by a link to the directory; links inside it are fine too."""
    (bundle.path / "model.onnx").rename(bundle.path / "model-3.onnx")
    (bundle.path / "model.onnx").symlink_to("model-3.onnx")
    (tmp_path / "current").symlink_to(bundle.path)
    assert read_bundle(tmp_path / "current").manifest == bundle.manifest


def test_a_file_that_cannot_be_read_is_a_bundle_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is told as a sentence, not as a traceback."""

    def failing(self: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(bundle.path)


# --- What the models refuse ---


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": [Group(name="animal", classes=[0, 1])]},
        {"groups": [Group(name="animal", classes=[0, 1]), Group(name="food", classes=[1, 2])]},
        {"groups": [Group(name="animal", classes=[0, 1, 2, 3])]},
        {"groups": [Group(name="a", classes=[0, 1]), Group(name="a", classes=[2])]},
        {"groups": []},
        {"classes": []},
        {"classes": ["cat", "cat", "apple"]},
        {"classes": ["cat", "", "apple"]},
        {"created": datetime(2026, 1, 2)},
        {"model_sha256": "ABC"},
        {"unknown": 1},
        {"schema_version": 2},
        {"name": ""},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Groups hold every class exactly once; names are unique and not empty; nothing unknown is carried along."""
    with pytest.raises(ValidationError):
        a_manifest(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": float("nan")},
        {"threshold": float("-inf")},
        {"tpr": 1.5},
        {"n": 99},
        {"n": 0},
        {"reference": {"ranks": [2, 100], "scores": [-0.9, -0.1]}},
        {"reference": {"ranks": [1, 50, 50, 100], "scores": [-0.9, -0.5, -0.5, -0.1]}},
        {"reference": {"ranks": [1, 100], "scores": [-0.1, -0.9]}},
        {"reference": {"ranks": [1, 100], "scores": [-0.9]}},
        {"reference": {"ranks": [], "scores": []}},
        {"reference": {"ranks": [1, 100], "scores": [-0.9, float("nan")]}},
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """A threshold is finite, and reference scores are order statistics that end at n."""
    with pytest.raises(ValidationError):
        a_calibration(**changes)


def test_group_sizes_and_owners_follow_the_manifest() -> None:
    """Groups keep manifest order; each class knows its group."""
    manifest = a_manifest()
    assert manifest.group_sizes == [2, 1]
    assert manifest.group_of_class == [0, 0, 1]


def test_preprocess_hash_is_fixed() -> None:
    """The hash is of canonical JSON: another release must find the same value for the same rules."""
    canonical = (
        '{"alpha":"white","color":"RGB","depth16":"scaled","height":32,"orientation":"exif",'
        '"resample":"bilinear","resize":"squash","rules":1,"width":48}'
    )
    assert InputSpec(height=32, width=48).sha256 == sha256_hex(canonical.encode())


def test_preprocess_hash_tells_sizes_apart() -> None:
    """Height and width are not exchangeable."""
    assert InputSpec(height=32, width=48).sha256 != InputSpec(height=48, width=32).sha256


# --- What writing promises ---


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


def test_a_crash_while_calibrating_keeps_the_older_calibration(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """calibration.json is replaced whole or not at all."""

    def failing(self: Path, target: Path) -> Path:
        raise Crash

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(Crash):
        write_calibration(bundle.path, a_calibration(threshold=-0.5))
    assert read_bundle(bundle.path) == bundle
    assert not [path for path in bundle.path.iterdir() if path.name.startswith(".")]
