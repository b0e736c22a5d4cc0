"""The import rules of the design, held by reading the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {"service.errors", "service.bundle", "service.preprocess", "service.verdict"}


def modules(package: str) -> list[str]:
    """Return the dotted names of all modules of *package*, packages included."""
    names = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(module: str) -> set[str]:
    """Return every module that *module* imports anywhere in its text, the project's own by their full names."""
    package = module if path_of(module).name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, [above, node.module]))
            # `from service import bundle` imports service.bundle; `from service.bundle import Bundle` does not.
            submodules = {f"{base}.{alias.name}" for alias in node.names}
            found.update({name for name in submodules if is_ours(name) and path_of(name).exists()} or {base})
    return found


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("service", "training")


def third_party(module: str) -> set[str]:
    tops = {name.partition(".")[0] for name in imports(module)}
    return {top for top in tops if top not in sys.stdlib_module_names and not is_ours(top)}


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if is_ours(name)}


def test_the_reader_of_imports_sees_them() -> None:
    """The rules below rest on a reader that knows both forms of import."""
    assert {"numpy", "service.errors", "PIL"} <= imports("service.preprocess")
    assert third_party("service.bundle") == {"pydantic"}


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_stand_alone(leaf: str) -> None:
    """A leaf imports the standard library, numpy, Pillow, pydantic and service.errors, never another leaf."""
    assert third_party(leaf) <= {"numpy", "PIL", "pydantic"}
    assert ours(leaf) <= ({"service.errors"} - {leaf})


@pytest.mark.parametrize("module", modules("service"))
def test_service_knows_neither_torch_nor_training(module: str) -> None:
    """The service image holds no torch, and training depends on the service, never the other way round."""
    assert not third_party(module) & {"torch", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "typer", "rich"}
    assert not any(name.partition(".")[0] == "training" for name in ours(module))


@pytest.mark.parametrize("module", modules("training"))
def test_training_uses_only_the_leaves_of_service(module: str) -> None:
    """Training shares the rules with the service, not its web parts."""
    assert {name for name in ours(module) if name.partition(".")[0] == "service"} <= LEAVES


def test_batcher_knows_neither_images_nor_onnx() -> None:
    """The batcher moves items it cannot look into."""
    if not path_of("service.inference.batcher").exists():
        pytest.skip("there is no service/batcher.py yet")
    assert not third_party("service.inference.batcher") & {"numpy", "onnxruntime", "PIL"}
    assert ours("service.inference.batcher") <= {"service.errors"}


def test_calibration_runs_without_torch() -> None:
    """Calibration scores the ONNX file that will be served, so it works inside the service image."""
    if not path_of("training.bundling.calibrate").exists():
        pytest.skip("there is no training/calibrate.py yet")
    check = "import sys, training.bundling.calibrate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=120)
