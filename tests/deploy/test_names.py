"""What the files of a deployment name exists: variables, series, ports, routes, files, modules and commands."""

import importlib.util
import re
from pathlib import Path

import pytest
from starlette.routing import BaseRoute, Match

from service.app import create_app
from service.settings import Settings
from tests.deploy.sources import ROOT, known_series, read_yaml

FILES = [
    ROOT / "Dockerfile",
    ROOT / "docker-compose.yml",
    *sorted(
        path
        for path in (ROOT / "deploy").rglob("*")
        if path.suffix in (".yml", ".yaml", ".json", ".md") and path.is_file()
    ),
]
# Prometheus, Grafana and NVIDIA's exporter listen there.
PORTS_OF_OTHERS = {"9090", "3000", "9400", "4318", "16686"}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def names(pattern: str, path: Path) -> set[str]:
    """What *pattern* finds in a file, or what its groups do."""
    return {name for name in re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) if name}


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[BaseRoute]:
    """The routes of the application, not started, with every setting that opens one."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text("0123456789abcdef0123456789abcdef\n")
    settings = Settings(_env_file=None, feedback_keys_file=folder / "keys", feedback_log=folder / "log")  # type: ignore[call-arg]
    return create_app(settings).routes


@each_file
def test_variables_are_settings(path: Path) -> None:
    """One that is no setting would be ignored without a word."""
    assert names(r"\bMOS_[A-Z_]+\b", path) <= {f"MOS_{name}".upper() for name in Settings.model_fields}


@each_file
def test_series_are_exported_or_recorded(path: Path) -> None:
    """With the suffix of their kind, or without it where a text tells of the family."""
    series = known_series()
    families = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in series}
    key_in_parquet = {"mos_guard"}
    assert names(r"(?<![\w.])(?:[a-z_]+:)?mos_[a-z_]+(?::\w+)?", path) <= series | families | key_in_parquet


@each_file
def test_ports_are_listened_on(path: Path) -> None:
    """8000 is the service's, by default and in the image."""
    ours = str(Settings.model_fields["port"].default)
    found = names(
        r"(?:(?<!\d):|\bport: |containerPort: |targetPort: |EXPOSE |MOS_PORT=|port-forward \S+ )(\d{4,5})\b", path
    )
    assert found <= {ours} | PORTS_OF_OTHERS


def test_a_named_port_is_the_container_s() -> None:
    """Probes, Service, policy and monitor say `http`, which the container has to have."""
    for path in FILES:
        if "kubernetes" in path.parts and path.suffix == ".yaml":
            assert names(r"(?:\bport|targetPort): ([a-z]\w*)", path) <= {"http"}


@each_file
def test_routes_are_served(path: Path, routes: list[BaseRoute]) -> None:
    """By the service: what is asked of Prometheus and Grafana begins otherwise."""
    found = names(r"(?<![\w.}])(/(?:health|v2|metrics|predict|feedback|model|docs|page)(?:/[\w{}]+)*)", path)
    for name in found:
        scopes = [{"type": "http", "path": name, "method": method} for method in ("GET", "POST")]
        assert any(route.matches(scope)[0] is Match.FULL for route in routes for scope in scopes), name


@each_file
def test_files_are_there(path: Path) -> None:
    """Those of the repository, as seen from its root or from the file, and those of the image."""
    text = path.read_text(encoding="utf-8")
    for name in names(r"(?<![\w./-])((?:deploy|service|training|tests)/[\w./-]*\w)", path):
        assert (ROOT / name).exists() or (path.parent / name).exists(), name
    for name in re.findall(r"(?<![\w./-])((?:\.\./)+[\w/-][\w./-]*\w)", text):
        if path.name == "README.md" and name.startswith("../deploy/"):
            continue  # of the installation that is shown, which lies beside deploy/
        assert (path.parent / name).exists(), name
    for name in names(r"/app/([\w./-]+/[\w./-]+)", path):
        assert (ROOT / name).exists(), name


@each_file
def test_modules_are_there(path: Path) -> None:
    """What is run with `python -m`, in a shell or as words of a list."""
    for module in names(r'python3?"?,? "?-m"?,? "?([a-z][\w.]*\w)', path):
        assert importlib.util.find_spec(module), module


def test_the_prometheus_of_compose_reads_files_that_are_mounted() -> None:
    """The rules lie beside the configuration, and the folder of both is mounted whole."""
    folder = ROOT / "deploy/prometheus"
    for pattern in read_yaml(folder / "prometheus.yml")["rule_files"]:
        assert list(folder.glob(pattern))
    mounts = read_yaml(ROOT / "docker-compose.yml")["services"]["prometheus"]["volumes"]
    assert "./deploy/prometheus:/etc/prometheus:ro" in mounts
