"""A benchmark that is run once a year still fits what it measures."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
# Servers are run with the peers' own packages, which are not here.
MODULES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if path.parent.name != "servers" and not path.name.startswith(("test_", "__init__"))
)


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_finds_all_that_it_imports(name: str) -> None:
    """What is renamed elsewhere is renamed there; and it says what it measures."""
    assert importlib.import_module(f"tests.benchmarks.{name}").__doc__
