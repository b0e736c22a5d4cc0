"""The bundle: the directory that training writes and the service serves.

    model.onnx          the graph, one file
    bundle.json         Manifest
    calibration.json    Calibration; absent until calibrated
    detectors.npz       optional, for evaluation
    canary/             encoded images, and expected.json with the outputs expected of them

A bundle is whole or absent: it is written beside its place and renamed. What can change a score is hashed, and
reading refuses what does not fit together with a sentence that says what to do.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from service.errors import BundleError

SCHEMA_VERSION: Literal[1] = 1

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "bundle.json"
CALIBRATION_FILE = "calibration.json"
DETECTORS_FILE = "detectors.npz"
CANARY_FOLDER = "canary"
EXPECTED_FILE = "expected.json"

Name = Annotated[str, StringConstraints(min_length=1)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# A plain file name: nothing that leads out of the folder or hides in it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
Fraction = Annotated[FiniteFloat, Field(ge=0, le=1)]

Model = TypeVar("Model", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Frozen):
    """What an image becomes before the graph sees it; every field can change a score."""

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    resample: Literal["bilinear"] = "bilinear"
    resize: Literal["squash"] = "squash"
    orientation: Literal["exif"] = "exif"
    alpha: Literal["white"] = "white"
    depth16: Literal["scaled"] = "scaled"
    color: Literal["RGB"] = "RGB"
    rules: Literal[1] = 1  # version of the rules in preprocess.py

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON: a calibration's `preprocess_sha256`."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return sha256_hex(canonical.encode())


class Group(_Frozen):
    """A group of the group softmax: its classes as indices into `Manifest.classes`."""

    name: Name
    classes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Manifest(_Frozen):
    """What the model is: bundle.json."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Name
    version: Name
    created: AwareDatetime
    model_sha256: Sha256
    input: InputSpec
    classes: Annotated[list[Name], Field(min_length=1)]
    groups: Annotated[list[Group], Field(min_length=1)]
    backbone: str
    precision: str
    training: dict[str, JsonValue] = {}
    metrics: dict[str, JsonValue] = {}

    @property
    def group_sizes(self) -> list[int]:
        """Number of classes in each group, (K,), *others* not counted."""
        return [len(group.classes) for group in self.groups]

    @property
    def group_of_class(self) -> list[int]:
        """Index of the group that each class is in, (C,)."""
        owner = {index: k for k, group in enumerate(self.groups) for index in group.classes}
        return [owner[index] for index in range(len(self.classes))]

    @model_validator(mode="after")
    def _groups_partition_the_classes(self) -> Self:
        if sorted(index for group in self.groups for index in group.classes) != list(range(len(self.classes))):
            raise ValueError("the groups must hold every class exactly once")
        for names in (self.classes, [group.name for group in self.groups]):
            if len(set(names)) != len(names):
                raise ValueError("class names and group names must each be unique")
        return self


class ReferenceScores(_Frozen):
    """Order statistics of the calibration scores: `scores[i]` has the 1-based rank `ranks[i]`."""

    ranks: Annotated[list[int], Field(min_length=1)]
    scores: list[FiniteFloat]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if len(self.ranks) != len(self.scores):
            raise ValueError("there must be one score for each rank")
        if self.ranks[0] != 1 or any(a >= b for a, b in zip(self.ranks, self.ranks[1:], strict=False)):
            raise ValueError("ranks must ascend from 1")
        if self.scores != sorted(self.scores):
            raise ValueError("scores must ascend")
        return self


class Calibration(_Frozen):
    """The threshold, its guarantee and what it was made from: calibration.json."""

    threshold: FiniteFloat
    tpr: Fraction
    confidence: Fraction
    method: Name
    n: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=0)]
    tpr_interval: tuple[Fraction, Fraction]
    model_sha256: Sha256
    preprocess_sha256: Sha256
    created: AwareDatetime
    data: dict[str, JsonValue] = {}
    reference: ReferenceScores

    @model_validator(mode="after")
    def _reference_ends_at_n(self) -> Self:
        if self.reference.ranks[-1] != self.n:
            raise ValueError("the last reference rank must be n")
        return self


class Expected(_Frozen):
    """The outputs expected of one canary file, as expected.json holds them."""

    name: FileName
    class_index: Annotated[int, Field(ge=0)]
    score: FiniteFloat
    others_scores: tuple[FiniteFloat, ...]  # (K,)

    @field_validator("name")
    @classmethod
    def _leaves_the_expectations_alone(cls, name: str) -> str:
        if name == EXPECTED_FILE:
            raise ValueError(f"{EXPECTED_FILE} is taken")
        return name


class Canary(Expected):
    """An encoded image and the outputs expected of it."""

    encoded: bytes


class _ExpectedFile(_Frozen):
    canaries: list[Expected]


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


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of *data* in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and verify the bundle at *path*; raises BundleError where it must not be served."""
    root = Path(path)
    if not root.is_dir():
        raise BundleError(f"There is no bundle directory at {root}; name the one that training wrote.")
    try:
        manifest = _read_manifest(root)
        _check_model(root, manifest)
        return Bundle(root, manifest, _read_calibration(root, manifest), _read_canaries(root, manifest))
    except OSError as error:
        raise BundleError(f"The bundle {root} cannot be read; check its permissions and its disk.") from error


def write_bundle(
    path: str | os.PathLike[str],
    *,
    manifest: Manifest,
    model: bytes,
    canaries: Sequence[Canary] = (),
    calibration: Calibration | None = None,
    detectors: bytes | None = None,
) -> Bundle:
    """Write a bundle to *path*, replacing an older one whole, and return it as `read_bundle` would.

    Raises BundleError where the parts do not fit together, or where *path* is a directory but no bundle; then
    nothing has changed there.
    """
    if sha256_hex(model) != manifest.model_sha256:
        raise BundleError("The manifest names another model than the one given; put that model's hash in it.")
    target = Path(path).resolve()
    _check_replaceable(target)
    with _draft_beside(target) as draft:
        (draft / MODEL_FILE).write_bytes(model)
        _write_json(draft / MANIFEST_FILE, manifest)
        if calibration is not None:
            _write_json(draft / CALIBRATION_FILE, calibration)
        if detectors is not None:
            (draft / DETECTORS_FILE).write_bytes(detectors)
        if canaries:
            _write_canaries(draft / CANARY_FOLDER, canaries)
        bundle = read_bundle(draft)
        _put_in_place(draft, target)
    return replace(bundle, path=Path(path))


def write_calibration(bundle_path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Put *calibration* into the bundle, whole, in place of an older one.

    Raises BundleError, changing nothing, where it was made with another model or another preprocessing.
    """
    root = Path(bundle_path)
    _check_calibration(calibration, _read_manifest(root))
    draft = _sibling(root / CALIBRATION_FILE)
    try:
        _write_json(draft, calibration)
        draft.replace(root / CALIBRATION_FILE)
    finally:
        draft.unlink(missing_ok=True)


def _read_manifest(root: Path) -> Manifest:
    # The version first: the fields of another schema would fail with a message about a field.
    document = _read_json(root, MANIFEST_FILE)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{root / MANIFEST_FILE} has schema version {version!r} and this release reads {SCHEMA_VERSION}; "
            "export the bundle again or install the release that wrote it."
        )
    return _validated(Manifest, root, MANIFEST_FILE)


def _check_model(root: Path, manifest: Manifest) -> None:
    with _member(root, MODEL_FILE).open("rb") as model:
        if hashlib.file_digest(model, "sha256").hexdigest() != manifest.model_sha256:
            raise BundleError(f"{root / MODEL_FILE} is not the model that {MANIFEST_FILE} names; export it again.")


def _read_calibration(root: Path, manifest: Manifest) -> Calibration | None:
    # lexists, here and below: a link to nowhere is an error, not an absence.
    if not os.path.lexists(root / CALIBRATION_FILE):
        return None
    calibration = _validated(Calibration, root, CALIBRATION_FILE)
    _check_calibration(calibration, manifest)
    return calibration


def _read_canaries(root: Path, manifest: Manifest) -> tuple[Canary, ...]:
    if not os.path.lexists(root / CANARY_FOLDER):
        return ()
    expected = _validated(_ExpectedFile, root, f"{CANARY_FOLDER}/{EXPECTED_FILE}").canaries
    if len({entry.name for entry in expected}) != len(expected):
        raise BundleError(f"Two canaries of {root} have one name; rename one and export the bundle again.")
    for entry in expected:
        if entry.class_index >= len(manifest.classes) or len(entry.others_scores) != len(manifest.groups):
            raise BundleError(f"Canary {entry.name} of {root} does not fit the classes; export the bundle again.")
    return tuple(
        Canary(**entry.model_dump(), encoded=_member(root, f"{CANARY_FOLDER}/{entry.name}").read_bytes())
        for entry in expected
    )


def _write_canaries(folder: Path, canaries: Sequence[Canary]) -> None:
    folder.mkdir()
    for canary in canaries:
        (folder / canary.name).write_bytes(canary.encoded)
    entries = [Expected(**canary.model_dump(exclude={"encoded"})) for canary in canaries]
    _write_json(folder / EXPECTED_FILE, _ExpectedFile(canaries=entries))


def _check_calibration(calibration: Calibration, manifest: Manifest) -> None:
    remedy = "run `python -m training calibrate` on this bundle."
    if calibration.model_sha256 != manifest.model_sha256:
        raise BundleError(f"The calibration was made with another model; {remedy}")
    if calibration.preprocess_sha256 != manifest.input.sha256:
        raise BundleError(f"The calibration was made with another preprocessing; {remedy}")


def _member(root: Path, name: str) -> Path:
    """Return the file *name* of the bundle; a link that leads out of it is refused."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise BundleError(f"{root / name} leads out of the bundle; put the file itself there.")
    if not path.is_file():
        raise BundleError(f"{root / name} is missing; export the bundle again.")
    return path


def _read_json(root: Path, name: str) -> Any:
    try:
        return json.loads(_member(root, name).read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{root / name} is not JSON; export the bundle again.") from error


def _validated(model: type[Model], root: Path, name: str) -> Model:
    try:
        return model.model_validate(_read_json(root, name))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise BundleError(f"{root / name} is not valid: {where}: {first['msg']}; export it again.") from error


def _write_json(path: Path, model: BaseModel) -> None:
    path.write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _sibling(path: Path) -> Path:
    """Return an unused hidden name beside *path*, on the same file system."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


@contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    """Yield a new directory beside *target*; whatever is still there at the end is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = _sibling(target)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_replaceable(target: Path) -> None:
    if target.exists() and not (target / MANIFEST_FILE).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(f"{target} exists and is no bundle, so it is not replaced; name another directory.")


def _put_in_place(draft: Path, target: Path) -> None:
    """Rename *draft* to *target*; an older bundle is set aside first and removed last, so one always exists."""
    if not target.exists():
        draft.rename(target)
        return
    older = _sibling(target)
    target.rename(older)
    try:
        draft.rename(target)
    except BaseException:
        older.rename(target)
        raise
    shutil.rmtree(older, ignore_errors=True)
