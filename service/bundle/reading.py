"""Reads a bundle, and refuses one whose parts do not fit together with a sentence that says what to do."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from service.bundle.schema import (
    CALIBRATION_FILE,
    CANARY_FOLDER,
    CARD_FILE,
    CARD_PICTURE_FILE,
    EXPECTED_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    READABLE_SCHEMA_VERSIONS,
    Calibration,
    Canary,
    ExpectedFile,
    Manifest,
)
from service.errors import BundleError

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and found consistent."""

    path: Path
    manifest: Manifest
    calibration: Calibration | None
    canaries: tuple[Canary, ...]

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.path / MODEL_FILE

    @property
    def card(self) -> dict[str, bytes]:
        """The files of the calibration's card that are there, by their names."""
        files = (self.path / name for name in (CARD_FILE, CARD_PICTURE_FILE))
        return {file.name: file.read_bytes() for file in files if file.is_file()}


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and verify the bundle at *path*; raises BundleError where it must not be served."""
    root = Path(path)
    if not root.is_dir():
        raise BundleError(f"There is no bundle directory at {root}; name the one that training wrote.")
    try:
        manifest = read_manifest(root)
        _check_model(root, manifest)
        return Bundle(root, manifest, _read_calibration(root, manifest), _read_canaries(root, manifest))
    except OSError as error:
        raise BundleError(f"The bundle {root} cannot be read; check its permissions and its disk.") from error


def read_manifest(root: Path) -> Manifest:
    """Return the manifest of the bundle at *root*; raises BundleError for one that this release does not read."""
    # The version first: the fields of another schema would fail with a message about a field.
    document = _read_json(root, MANIFEST_FILE)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version not in READABLE_SCHEMA_VERSIONS:
        readable = " and ".join(map(str, READABLE_SCHEMA_VERSIONS))
        raise BundleError(
            f"{root / MANIFEST_FILE} has schema version {version!r} and this release reads {readable}; "
            "export the bundle again or install the release that wrote it."
        )
    return _validated(Manifest, root, MANIFEST_FILE)


def check_calibration(calibration: Calibration, manifest: Manifest) -> None:
    """Raise BundleError unless *calibration* was made with the model and the preprocessing of *manifest*."""
    remedy = "run `python -m training calibrate` on this bundle."
    if calibration.model_sha256 != manifest.model_sha256:
        raise BundleError(f"The calibration was made with another model; {remedy}")
    if calibration.preprocess_sha256 != manifest.input.sha256:
        raise BundleError(f"The calibration was made with another preprocessing; {remedy}")
    known = {group.name for group in manifest.groups}
    if unknown := [entry.group for entry in calibration.group_thresholds if entry.group not in known]:
        raise BundleError(f"The calibration has a threshold of group {unknown[0]!r}, which the model lacks; {remedy}")


def _check_model(root: Path, manifest: Manifest) -> None:
    with _member(root, MODEL_FILE).open("rb") as model:
        if hashlib.file_digest(model, "sha256").hexdigest() != manifest.model_sha256:
            raise BundleError(f"{root / MODEL_FILE} is not the model that {MANIFEST_FILE} names; export it again.")


def _read_calibration(root: Path, manifest: Manifest) -> Calibration | None:
    # lexists, here and below: a link to nowhere is an error, not an absence.
    if not os.path.lexists(root / CALIBRATION_FILE):
        return None
    calibration = _validated(Calibration, root, CALIBRATION_FILE)
    check_calibration(calibration, manifest)
    return calibration


def _read_canaries(root: Path, manifest: Manifest) -> tuple[Canary, ...]:
    if not os.path.lexists(root / CANARY_FOLDER):
        return ()
    expected = _validated(ExpectedFile, root, f"{CANARY_FOLDER}/{EXPECTED_FILE}").canaries
    if len({entry.name for entry in expected}) != len(expected):
        raise BundleError(f"Two canaries of {root} have one name; rename one and export the bundle again.")
    for entry in expected:
        if entry.class_index >= len(manifest.classes) or len(entry.others_scores) != len(manifest.groups):
            raise BundleError(f"Canary {entry.name} of {root} does not fit the classes; export the bundle again.")
    return tuple(
        Canary(**entry.model_dump(), encoded=_member(root, f"{CANARY_FOLDER}/{entry.name}").read_bytes())
        for entry in expected
    )


def _validated(model: type[Model], root: Path, name: str) -> Model:
    try:
        return model.model_validate(_read_json(root, name))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise BundleError(f"{root / name} is not valid: {where}: {first['msg']}; export it again.") from error


def _read_json(root: Path, name: str) -> Any:
    try:
        return json.loads(_member(root, name).read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{root / name} is not JSON; export the bundle again.") from error


def _member(root: Path, name: str) -> Path:
    """Return the file *name* of the bundle; a link that leads out of it is refused."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise BundleError(f"{root / name} leads out of the bundle; put the file itself there.")
    if not path.is_file():
        raise BundleError(f"{root / name} is missing; export the bundle again.")
    return path
