"""The import rules of the design, held by reading the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each is the one implementation of a rule that training and the service share; a leaf may be a package.
LEAVES = {"service.errors", "service.machine", "service.bundle", "service.preprocess", "service.verdict"}
# What another package's room may import beside the leaves: the command line asks a running service through its client,
# and what judges without a service runs its engine and says of a bad picture what it says.
DOORS = {
    "training.commands": {"service.client"},
    "training.scoring": {"service.inference.engine", "service.http.problems"},
}
# Package -> room -> the rooms that it may import. A room is a folder or a module directly in the package. Arrows point
# down the table; its own room and the leaves are open to everyone, and anything else is not.
ROOMS: dict[str, dict[str, set[str]]] = {
    "service": {
        "__main__": {"app", "http", "settings", "watch"},
        "app": {"http", "serving", "inference", "settings", "watch"},
        "settings": {"http"},
        "http": {"serving", "inference", "watch"},
        "serving": {"inference", "watch"},
        "inference": set(),
        "watch": set(),
        "client": set(),
    },
    "training": {
        "__main__": {"commands"},
        "commands": {
            "bulk",
            "studies",
            "evaluation",
            "bundling",
            "decision",
            "fitting",
            "scoring",
            "detectors",
            "weights",
            "model",
            "grouping",
            "data",
        },
        "bulk": {"scoring", "data"},
        "studies": {
            "bundling",
            "evaluation",
            "decision",
            "fitting",
            "scoring",
            "detectors",
            "weights",
            "model",
            "grouping",
            "data",
        },
        "evaluation": {"gradients", "scoring", "detectors", "data"},
        "bundling": {
            "gradients",
            "decision",
            "fitting",
            "scoring",
            "detectors",
            "weights",
            "model",
            "grouping",
            "data",
        },
        "gradients": {"detectors", "weights", "model", "grouping", "data"},
        "decision": {"model"},
        "fitting": {"scoring", "weights", "model", "grouping", "data"},
        "weights": {"scoring", "model", "grouping"},
        "model": {"scoring", "grouping"},
        "scoring": {"data"},
        "detectors": set(),
        "grouping": set(),
        "data": set(),
    },
}
# What every room of a package may use: small modules that know none of them.
GROUND = {"training": {"errors", "files", "machine", "progress", "distributed", "reproduction"}, "service": set[str]()}


def modules(package: str) -> list[str]:
    """Return the dotted names of all modules of *package*, packages included."""
    names = []
    for path in sorted(ROOT.joinpath(*package.split(".")).rglob("*.py")):
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


def is_within(module: str, other: str) -> bool:
    """Say whether *module* is *other* or lies inside it."""
    return f"{module}.".startswith(f"{other}.")


def modules_of_leaf(leaf: str) -> list[str]:
    return modules(leaf) if path_of(leaf).name == "__init__.py" else [leaf]


def room_of(module: str) -> str:
    """Return the folder or module, directly in its package, that *module* lies in: two names, package and room."""
    return ".".join(module.split(".")[:2])


def modules_in_rooms() -> list[str]:
    """Return the modules of every package of the table, but for the packages' own `__init__` and the leaves."""
    found = [module for package in ROOMS for module in modules(package) if module != package]
    return [module for module in found if not any(is_within(module, leaf) for leaf in LEAVES)]


def test_the_reader_of_imports_sees_them() -> None:
    """The rules below rest on a reader that knows both forms of import."""
    assert {"numpy", "service.errors", "PIL"} <= imports("service.preprocess")
    assert third_party("service.bundle.schema") == {"pydantic"}


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_stand_alone(leaf: str) -> None:
    """A leaf imports the standard library, numpy, Pillow, pydantic and service.errors, never another leaf."""
    for module in modules_of_leaf(leaf):
        assert third_party(module) <= {"numpy", "PIL", "pydantic"}
        assert {name for name in ours(module) if not is_within(name, leaf)} <= {"service.errors"}


@pytest.mark.parametrize("module", modules_in_rooms())
def test_imports_follow_the_arrows_between_rooms(module: str) -> None:
    """A module imports its own room, the rooms that the table allows it, and leaves by their own names."""
    package, room = room_of(module).split(".")
    rooms = ROOMS[package] | {module: set[str]() for module in GROUND[package]}
    assert room in rooms, f"{module} lies in no room of {package}; move it, or give {room} a row in ROOMS."
    allowed = {f"{package}.{other}" for other in rooms[room] | GROUND[package] | {room}}
    for name in sorted(ours(module) - DOORS.get(f"{package}.{room}", set())):
        assert name in LEAVES or room_of(name) in allowed, (
            f"{module} imports {name}, and {room} may import only {', '.join(sorted(allowed | LEAVES))}."
        )


@pytest.mark.parametrize("package", ROOMS)
def test_arrows_between_rooms_point_down_the_table(package: str) -> None:
    """A room may use only what stands below it, so that no two rooms need each other."""
    rooms = list(ROOMS[package])
    for index, room in enumerate(rooms):
        upwards = ROOMS[package][room] - set(rooms[index + 1 :])
        assert not upwards, f"{room} of {package} may import {sorted(upwards)}, which does not stand below it in ROOMS."


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_says_what_happens_there(package: str) -> None:
    """Whoever opens a folder finds in its `__init__.py` what it is for."""
    for path in sorted((ROOT / package).rglob("__init__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} does not say what happens in its folder."


@pytest.mark.parametrize("module", modules("service"))
def test_service_knows_neither_torch_nor_training(module: str) -> None:
    """The service image holds no torch, and training depends on the service, never the other way round."""
    assert not third_party(module) & {"torch", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "typer", "rich"}
    assert not any(name.partition(".")[0] == "training" for name in ours(module))


@pytest.mark.parametrize("module", modules("training"))
def test_training_uses_only_the_leaves_of_service(module: str) -> None:
    """Training shares the rules with the service, not its web parts."""
    used = {name for name in ours(module) if name.partition(".")[0] == "service"}
    assert used <= LEAVES | DOORS.get(room_of(module), set())


@pytest.mark.parametrize("module", modules("service.client"))
def test_the_client_stands_alone(module: str) -> None:
    """Who only asks a service needs httpx and Pillow, and nothing of the service but its errors."""
    assert third_party(module) - {"opentelemetry"} <= {"httpx", "PIL"}
    assert {name for name in ours(module) if not is_within(name, "service.client")} <= {"service.errors"}


def test_batcher_knows_neither_images_nor_onnx() -> None:
    """The batcher moves items it cannot look into."""
    assert not third_party("service.inference.batcher") & {"numpy", "onnxruntime", "PIL"}
    assert ours("service.inference.batcher") <= {"service.errors"}


def test_the_wall_clock_is_for_readers_of_records_alone() -> None:
    """It jumps, so nothing waits by it or measures with it: only what is written down carries a time of day.

    And a client reads one, where a server says by date until when to wait.
    """
    readers = {module for module in modules("service") if wall_clock(module)}
    watching = {"service.watch.verdict_log", "service.watch.spans"}
    assert readers == watching | {"service.http.feedback", "service.client.calls"}


def test_opentelemetry_is_imported_in_one_place() -> None:
    """It is an extra, and costs nothing where no traces are asked for; the client only passes on what is there."""
    users = {module for module in modules("service") if "opentelemetry" in third_party(module)}
    assert users == {"service.watch.spans", "service.client.trace_headers"}
    importers = {module for module in modules("service") if "service.watch.spans" in imported_at_once(module)}
    assert importers == set()


def imported_at_once(module: str) -> set[str]:
    """Return what *module* imports as soon as it is imported itself: not inside a function, nor for types alone."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    found = set[str]()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def wall_clock(module: str) -> set[str]:
    """Return the names by which *module* asks for the time of day."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    asked = {"time": {"time", "time_ns", "localtime", "gmtime"}, "datetime": {"now", "utcnow", "today"}}
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {node.attr} & asked.get(node.value.id, set())
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found |= {alias.name for alias in node.names} & asked["time"]
    return found


@pytest.mark.parametrize("job", ["calibrate", "recalibrate"])
def test_calibration_runs_without_torch(job: str) -> None:
    """Calibration scores the ONNX file that will be served, so it works inside the service image."""
    check = f"import sys, training.bundling.{job}; assert not {{'torch', 'matplotlib', 'sklearn'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=120)
