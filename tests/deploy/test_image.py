"""The Dockerfile, read; building it is for where there is a container engine."""

import re
import tomllib

import pytest

from tests.deploy.sources import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_user_is_a_number_and_not_root() -> None:
    """Kubernetes can tell that a number is not root; of a name it cannot."""
    assert int(re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.M)[-1]) > 0


def test_the_entry_point_gets_the_signals() -> None:
    """Exec form: SIGTERM reaches the service and not a shell."""
    assert 'ENTRYPOINT ["python", "-m", "service"]' in DOCKERFILE


def test_an_edit_of_the_source_keeps_the_dependencies() -> None:
    """The dependencies are installed before any source is copied, from their locks alone."""
    stage = DOCKERFILE.split("FROM ")[1]
    assert re.findall(r"^COPY (.*)$", stage, re.M) == ["deploy/locks /locks"]
    assert "pip --python /opt/venv/bin/python ${install} -r" in stage


def test_only_wheels_with_a_known_hash_are_installed() -> None:
    """Every pip that reaches an index checks hashes, and runs no code of a source package."""
    installs = re.findall(r"pip (?:--python \S+ )?(install|wheel|\$\{install\})([^&\n]*)", DOCKERFILE)
    assert len(installs) == 4
    for command, options in installs:
        assert command == "${install}" or "--no-index" in options or "--no-build-isolation" in options
    assert 'install="install --require-hashes --only-binary=:all:"' in DOCKERFILE


def test_the_version_is_that_of_the_project() -> None:
    """Numbers in two places that must agree."""
    assert f"ARG VERSION={PROJECT['version']}\n" in DOCKERFILE


def test_the_default_extras_exist_and_hold_no_torch() -> None:
    """The image serves and calibrates; it does not train."""
    extras = re.findall(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.M)[0].split(",")
    requirements = [requirement for extra in extras for requirement in PROJECT["optional-dependencies"][extra]]
    assert not any("torch" in requirement for requirement in [*requirements, *PROJECT["dependencies"]])


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "pyproject.toml", "deploy/locks", "service", "training"])
def test_the_build_context_holds_what_is_copied(name: str) -> None:
    """.dockerignore keeps all out but what the Dockerfile copies, so nothing private gets into the image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert f"!{name}" in lines
