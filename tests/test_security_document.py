"""SECURITY.md points to where each defence is."""

import re
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
QUOTED = re.findall(r"`([^`]+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
PLACES = sorted({name for name in QUOTED if re.fullmatch(r"(service|training|deploy)/[\w./]+", name)})


@pytest.mark.parametrize("path", PLACES)
def test_every_place_is_there(path: str) -> None:
    """A defence that moved is looked for in vain."""
    assert (ROOT / path).exists()


def test_every_setting_and_target_is_there() -> None:
    """What an operator is told to set or to run exists."""
    settings = {f"MOS_{name.upper()}" for name in Settings.model_fields}
    assert {name.partition("=")[0] for name in QUOTED if name.startswith("MOS_")} <= settings
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [name.removeprefix("make ") for name in QUOTED if name.startswith("make ")]
    assert {"lock", "audit", "sbom"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M)
