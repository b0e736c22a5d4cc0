"""A change of the bundle is seen without reading it, however it is made."""

import os
import shutil
from pathlib import Path

from service.bundle import Bundle, write_calibration
from service.serving.identity import identity_of


def test_two_looks_at_one_bundle_are_equal(tiny_bundle: Bundle) -> None:
    """Looking changes nothing."""
    assert identity_of(tiny_bundle.path) == identity_of(tiny_bundle.path)


def test_a_new_calibration_is_another_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """`calibrate` writes one file into the folder."""
    assert tiny_bundle.calibration is not None
    copy = Path(shutil.copytree(tiny_bundle.path, tmp_path / "bundle"))
    before = identity_of(copy)
    write_calibration(copy, tiny_bundle.calibration)
    assert identity_of(copy) != before


def test_a_turned_link_is_another_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Releases lie side by side and a link names the one to serve."""
    first, second = tmp_path / "1", tmp_path / "2"
    for release in (first, second):
        shutil.copytree(tiny_bundle.path, release)
    link = tmp_path / "bundle"
    link.symlink_to(first)
    before = identity_of(link)
    turned = tmp_path / "turned"
    turned.symlink_to(second)
    turned.replace(link)
    assert identity_of(link) != before


def test_a_volume_that_kubernetes_updates_is_another_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Each file is a link through `..data`, which is turned to a new folder as a whole."""
    for name in ("..one", "..two"):
        shutil.copytree(tiny_bundle.path, tmp_path / name)
    (tmp_path / "..data").symlink_to("..one")
    for entry in tiny_bundle.path.iterdir():
        (tmp_path / entry.name).symlink_to(f"..data/{entry.name}")
    before = identity_of(tmp_path)
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert identity_of(tmp_path) != before


def test_what_is_not_there_has_an_identity_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A missing folder and a link that leads to itself are states, not errors."""
    os.symlink("loop", tmp_path / "loop")
    assert identity_of(tmp_path / "loop") == identity_of(tmp_path / "none") != identity_of(tiny_bundle.path)
