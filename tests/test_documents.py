"""The documents say what is so: their commands, options, targets, paths, variables, links and tables.

What README shows of asking is run against a real server as it is printed; every other command is held to the parser
that would read it. Of deploy/README.md, what Kubernetes and compose make of it is in tests/deploy/test_readme.py.
"""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from service.settings import Settings
from tests import readme_tables
from tests.server_process import ServerProcess, environment, running_server
from training.__main__ import app

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("README.md", "CONTRIBUTING.md", "deploy/README.md", "training/README.md")
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
MOS_GUARD: Any = typer.main.get_command(app)
# What is run by whoever reads, beside the project's own; for another program think whether it can be checked.
PROGRAMS = {"curl", "docker", "duckdb", "env", "jq", "kubectl", "mkdir", "openssl", "pip", "tar"}

each_document = pytest.mark.parametrize("name", NAMES)


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a document that are in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXTS[name], re.DOTALL | re.MULTILINE)


def shown(name: str) -> list[str]:
    """The command lines of a document's `console` blocks; a line that ends with a backslash goes on in the next."""
    lines = "".join(blocks(name, "console")).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines]


def spans(name: str) -> list[str]:
    """What a document has in backticks outside its blocks, on one line each."""
    text = re.sub(r"^```.*?^```$", "", TEXTS[name], flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands(line: str) -> Iterator[list[str]]:
    """Each command of a line, in words, without the variables that are set for it and the environment's path."""
    words = shlex.split(line, comments=True)
    ends = [i for i, word in enumerate(words) if word in ("&&", "|", ";")]
    for begin, end in zip([0, *(end + 1 for end in ends)], [*ends, len(words)], strict=True):
        command = words[begin:end]
        while command and re.match(r"[A-Z_]+=", command[0]):
            command = command[1:]
        if command:
            yield [command[0].removeprefix(".venv/bin/"), *command[1:]]


SHOWN = [(name, command) for name in NAMES for line in shown(name) for command in commands(line)]
MENTIONED = [
    (name, command)
    for name in NAMES
    for span in spans(name)
    if re.match(r"(mos-guard|make|python -m|\.venv/bin/\S+) [a-z.]", span)
    for command in commands(span)
]
each_command = pytest.mark.parametrize(
    ("name", "command"), SHOWN + MENTIONED, ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)


def words_of_mos_guard(command: list[str]) -> list[str] | None:
    """What stands behind `mos-guard` or `-m training`, which are the same."""
    if command[0] == "mos-guard":
        return command[1:]
    if command[0] in ("python", "torchrun") and "training" in command[:-1]:
        return command[command.index("training") + 1 :]
    return None


@each_document
def test_the_commands_are_found(name: str) -> None:
    """What follows stands on this reading: each line of a `console` block begins a command or goes on with one."""
    text = "".join(blocks(name, "console")).replace("\\\n", "")
    assert text
    assert all(line.startswith("$ ") for line in text.splitlines())


@each_command
def test_the_command_is_one(name: str, command: list[str]) -> None:
    """The program, the target or the module is there, and has the options."""
    arguments = words_of_mos_guard(command)
    if arguments is not None:
        whole = (name, command) in SHOWN and "..." not in arguments
        require_arguments(arguments, whole=whole)
    elif command[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
        for target in (word for word in command[1:] if "=" not in word):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
    elif command[0] in ("python", "python3"):
        require_module(command[command.index("-m") + 1 :])
    else:
        assert command[0] in PROGRAMS


def require_arguments(arguments: list[str], *, whole: bool) -> None:
    """Parse *arguments* as the command line does; where they are *whole*, with types and what is required."""
    command = MOS_GUARD.commands[arguments[0]]
    if whole:
        command.make_context(arguments[0], arguments[1:])
        return
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    assert {word for word in arguments if word.startswith("--")} <= known | {"--help"}


def require_module(words: list[str]) -> None:
    """The module can be run, and its source names each option."""
    found = importlib.util.find_spec(words[0])
    assert found, words[0]
    assert found.origin
    if words[0].startswith(("tests", "training", "service")):
        main = Path(found.origin).with_name("__main__.py") if found.submodule_search_locations else Path(found.origin)
        source = main.read_text(encoding="utf-8")
        for option in (word for word in words[1:] if word.startswith("--")):
            assert f'"{option}"' in source, option


@each_document
def test_compose_reads_what_is_set_for_it(name: str) -> None:
    """Variables, of which a misspelt one would leave the default without a word, and files."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for line in (line.partition(" #")[0] for line in shown(name) if " docker compose " in f" {line}"):
        assert all(f"${{{variable}:-" in compose for variable in re.findall(r"\b([A-Z_]+)=", line))
        assert all((ROOT / file).is_file() for file in re.findall(r" -f (\S+)", line))


@each_document
def test_python_is_valid(name: str) -> None:
    """Each block of it."""
    for block in blocks(name, "python"):
        compile(block, name, "exec")


@each_document
def test_variables_are_settings(name: str) -> None:
    """One that is no setting would be ignored without a word."""
    found = set(re.findall(r"\bMOS_[A-Z_]+\b", TEXTS[name]))
    assert found <= {f"MOS_{setting.upper()}" for setting in Settings.model_fields}


@each_document
def test_paths_are_there(name: str) -> None:
    """Those of the repository: what is in backticks and begins with one of its folders."""
    for span in spans(name):
        folder, slash, _ = span.partition("/")
        if slash and folder in ("service", "training", "deploy", "tests") and re.fullmatch(r"[\w./-]+", span):
            assert (ROOT / span).exists(), span


@each_document
def test_links_lead_somewhere(name: str) -> None:
    """To a file, and to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_tables_are_current() -> None:
    """`python -m tests.readme_tables` writes them."""
    assert readme_tables.written_anew(TEXTS["README.md"]) == TEXTS["README.md"]


def test_the_badges_are_true() -> None:
    """Of licence and Python, as the package has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"![Licence: {project['license']}]" in TEXTS["README.md"]
    assert f"![Python: {project['requires-python'].removeprefix('>=')} or newer]" in TEXTS["README.md"]


def test_the_citation_is_of_this_version() -> None:
    """With the keys that the format asks for, and the paper."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["references"][0]["url"] in TEXTS["README.md"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("readme")
    with running_server(folder) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures that README's commands name."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for name in ("apple.png", "noise.png", "photos/a.png"):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name)
    return folder


def as_printed(text: str, server: ServerProcess, folder: Path, *program: str) -> subprocess.CompletedProcess[str]:
    """Run *program* in *folder*, with *text* as its input or its words; the service is the one of the test."""
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    words, script = (list(program), text) if program else (shlex.split(text, comments=True), "")
    if words[0] == "mos-guard":
        words = [sys.executable, "-m", "training", *words[1:]]
    own = environment({}) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(words, input=script, cwd=folder, env=own, capture_output=True, text=True, check=False)


@pytest.mark.e2e
@pytest.mark.parametrize("line", [line for line in shown("README.md") if line.startswith("curl ")])
def test_curl_gets_a_verdict(line: str, server: ServerProcess, pictures: Path) -> None:
    """With the fields that README shows."""
    [example] = blocks("README.md", "json")
    assert json.loads(as_printed(line, server, pictures).stdout).keys() == json.loads(example).keys()


@pytest.mark.e2e
@pytest.mark.parametrize("block", blocks("README.md", "python"), ids=lambda block: block.split()[1])
def test_python_asks(block: str, server: ServerProcess, pictures: Path) -> None:
    """With the project's own client, and with Triton's."""
    run = as_printed(block, server, pictures, sys.executable, "-")
    assert run.returncode == 0, run.stderr
    assert run.stdout


@pytest.mark.e2e
@pytest.mark.parametrize("line", [line for line in shown("README.md") if line.startswith("mos-guard predict")])
def test_predict_judges(line: str, server: ServerProcess, pictures: Path) -> None:
    """As JSON lines in a pipe, by the service and in the process itself."""
    run = as_printed(line.partition(" |")[0], server, pictures)
    assert run.returncode in (0, 3), run.stderr
    assert [json.loads(answer)["decision"] in ("in", "out") for answer in run.stdout.splitlines()] == [True]


@pytest.mark.e2e
def test_score_writes_what_is_asked_for(server: ServerProcess, pictures: Path) -> None:
    """The first of README's lines; the second needs a cluster."""
    line = next(line for line in shown("README.md") if line.startswith("mos-guard score"))
    run = as_printed(line, server, pictures)
    assert run.returncode in (0, 3), run.stderr
    assert list((pictures / "scores/verdicts").glob("*.parquet"))
