"""Writes bundles whole: each is drafted beside its place, read back as a check, and renamed."""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from service.bundle.reading import Bundle, check_calibration, read_bundle, read_manifest
from service.bundle.schema import (
    CALIBRATION_FILE,
    CANARY_FOLDER,
    CARD_FILE,
    CARD_PICTURE_FILE,
    DETECTORS_FILE,
    EXPECTED_FILE,
    FITTED_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Calibration,
    Canary,
    ExpectedFile,
    ExpectedOutputs,
    Manifest,
    sha256_hex,
)
from service.errors import BundleError


def write_bundle(
    path: str | os.PathLike[str],
    *,
    manifest: Manifest,
    model: bytes,
    canaries: Sequence[Canary] = (),
    calibration: Calibration | None = None,
    card: Mapping[str, bytes] | None = None,
    detectors: bytes | None = None,
    fitted: bytes | None = None,
) -> Bundle:
    """Write a bundle to *path*, replacing an older one whole, and return it as `read_bundle` would.

    *card* are the files of the calibration's card by their names, as `Bundle.card` has them; *detectors* and *fitted*
    are the content of the files that are called so.

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
        for name, content in (card or {}).items():
            (draft / name).write_bytes(content)
        if detectors is not None:
            (draft / DETECTORS_FILE).write_bytes(detectors)
        if fitted is not None:
            (draft / FITTED_FILE).write_bytes(fitted)
        if canaries:
            _write_canaries(draft / CANARY_FOLDER, canaries)
        bundle = read_bundle(draft)
        _put_in_place(draft, target)
    return replace(bundle, path=Path(path))


def write_calibration(
    bundle_path: str | os.PathLike[str], calibration: Calibration, card: Mapping[str, bytes] | None = None
) -> None:
    """Put *calibration* and the files of its *card* into the bundle, each whole, in place of older ones.

    Raises BundleError, changing nothing, where it was made with another model or another preprocessing.
    """
    root = Path(bundle_path)
    check_calibration(calibration, read_manifest(root))
    drafts = {name: _sibling(root / name) for name in (CALIBRATION_FILE, *(card or {}))}
    try:
        _write_json(drafts[CALIBRATION_FILE], calibration)
        for name, content in (card or {}).items():
            drafts[name].write_bytes(content)
        for name in (CARD_FILE, CARD_PICTURE_FILE):
            (root / name).unlink(missing_ok=True)  # first, for it tells of the older calibration
        for name, draft in drafts.items():
            draft.replace(root / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _write_canaries(folder: Path, canaries: Sequence[Canary]) -> None:
    folder.mkdir()
    for canary in canaries:
        (folder / canary.name).write_bytes(canary.encoded)
    entries = [ExpectedOutputs(**canary.model_dump(exclude={"encoded"})) for canary in canaries]
    _write_json(folder / EXPECTED_FILE, ExpectedFile(canaries=entries))


def _write_json(path: Path, model: BaseModel) -> None:
    path.write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _check_replaceable(target: Path) -> None:
    if target.exists() and not (target / MANIFEST_FILE).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(f"{target} exists and is no bundle, so it is not replaced; name another directory.")


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


def _sibling(path: Path) -> Path:
    """Return an unused hidden name beside *path*, on the same file system."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
