"""The locks that the image is built from: whole, hashed, and what pyproject.toml asks for."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.sources import ROOT

LOCKS = ROOT / "deploy/locks"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
SERVICE = [*PYPROJECT["project"]["dependencies"], *EXTRAS["calibrate"], *EXTRAS["otel"]]
# Lock -> what it is made from.
WANTED = {
    "build.txt": PYPROJECT["build-system"]["requires"],
    "calibrate.txt": SERVICE,
    "calibrate-cuda.txt": [*SERVICE, *EXTRAS["cuda"]],
    "calibrate-bulk.txt": [*SERVICE, *EXTRAS["bulk"][1:]],
    "calibrate-bulk-cuda.txt": [*SERVICE, *EXTRAS["bulk"][1:], *EXTRAS["cuda"]],
}


def entries(name: str) -> list[str]:
    """Return one string a package: its requirement, then its hashes."""
    text = re.sub(r"^ *#.*\n", "", (LOCKS / name).read_text(encoding="utf-8"), flags=re.M)
    return text.replace("\\\n", " ").splitlines()


def pins(name: str) -> list[Requirement]:
    return [Requirement(entry.split(" --hash=")[0].strip()) for entry in entries(name)]


@pytest.mark.parametrize("name", WANTED)
def test_every_package_is_one_version_with_its_hashes(name: str) -> None:
    """Nothing is left for an index to choose, and nothing can be exchanged on the way."""
    for entry in entries(name):
        assert re.fullmatch(r"[a-z0-9-]+==\S+ (; [^-]+)?( *--hash=sha256:[0-9a-f]{64})+", entry), entry


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_names_no_index(name: str) -> None:
    """Where packages come from is a matter of whoever builds."""
    assert not re.search(r"https?://|^-", (LOCKS / name).read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_holds_what_the_project_asks_for(name: str) -> None:
    """After a change of pyproject.toml `make lock` is due: a version that is too old or missing would be served."""
    for wanted in map(Requirement, WANTED[name]):
        found = [pin for pin in pins(name) if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
        assert found, f"{wanted.name} is not in {name}; run `make lock`."
        for pin in found:
            [version] = [specifier.version for specifier in pin.specifier]
            assert wanted.specifier.contains(version), f"{name} has {pin.name} {version}; run `make lock`."


def test_both_images_serve_with_the_same_versions() -> None:
    """What the one was tested with is in the other."""
    assert {str(pin) for pin in pins("calibrate.txt")} <= {str(pin) for pin in pins("calibrate-cuda.txt")}


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "deploy/compose.gpu.yml"])
def test_what_the_image_is_built_with_has_its_lock(file: str) -> None:
    """The extras name the lock, with a hyphen for the comma."""
    [extras] = set(re.findall(r"EXTRAS[=:] ?([a-z,]+)\n", (ROOT / file).read_text(encoding="utf-8")))
    assert (LOCKS / f"{extras.replace(',', '-')}.txt").exists()
