"""What does not fit together, or leads out of the bundle, is refused with a sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle, read_bundle
from service.errors import BundleError
from tests.service.bundle.parts import MODEL


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the JSON document at *path*."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


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


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_an_unknown_schema_version_is_refused_first(bundle: Bundle, version: object) -> None:
    """A bundle of another release is named as such, whatever else its manifest holds."""
    edit(bundle.path / "bundle.json", lambda manifest: manifest.update(schema_version=version, from_the_future=True))
    with pytest.raises(BundleError, match=r"schema version .* reads 1 and 2"):
        read_bundle(bundle.path)


def test_a_bundle_of_schema_1_is_read(bundle: Bundle) -> None:
    """Bundles made before there was a choice go on: MOS decides."""
    edit(bundle.path / "bundle.json", lambda manifest: manifest.update(schema_version=1))
    assert read_bundle(bundle.path).manifest == bundle.manifest.model_copy(update={"schema_version": 1})
    assert read_bundle(bundle.path).manifest.decided_by == "mos"


def test_a_decision_whose_parts_disagree_is_refused(bundle: Bundle) -> None:
    """The sentence names the file and the field."""
    part = {"name": "knn", "weight": 1, "mean": 0, "deviation": 1}
    decision = {"statistic": "mos+knn", "parts": [part]}
    edit(bundle.path / "bundle.json", lambda manifest: manifest.update(decision=decision))
    with pytest.raises(BundleError, match=r"bundle\.json is not valid: decision: .*names of its parts"):
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
