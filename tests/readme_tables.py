"""The tables of README.md that the code knows better: `python -m tests.readme_tables` writes them anew.

Routes are the application's own, with their summaries; settings have their descriptions; statuses are those of the one
table of problems. Each stands between two comments of its name, and a test holds that it is current.
"""

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo

from service.app import create_app
from service.http.docs import router as docs_router
from service.http.page.routes import router as page_router
from service.http.problems import HTTP_PROBLEMS, PROBLEMS, Problem
from service.settings import DEFAULT_BUNDLE, Settings

README = Path(__file__).parents[1] / "README.md"


def rows(cells: Iterable[Iterable[str]]) -> str:
    """Lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def application() -> FastAPI:
    """Return the application, not started, with every setting that opens a route."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.write_text("0123456789abcdef0123456789abcdef\n")
        settings: Any = {"feedback_keys_file": keys, "feedback_log": Path(folder) / "labels.jsonl"}
        return create_app(Settings(_env_file=None, **settings))


def routes() -> str:
    """A row for each thing that can be asked; routes of one summary are one. What people look at is not in OpenAPI."""
    asked: dict[str, list[str]] = {}
    for path, operations in application().openapi()["paths"].items():
        for method, operation in operations.items():
            asked.setdefault(operation["summary"], []).append(f"`{method.upper()} {path}`")
    for route in [*page_router.routes, *docs_router.routes]:
        assert isinstance(route, APIRoute)
        asked.setdefault(_first_sentence(route.endpoint.__doc__), []).append(f"`GET {route.path}`")
    return rows(
        [
            ["route", ""],
            ["---", "---"],
            *([", ".join(sorted(paths, key=len)), does.rstrip(".")] for does, paths in asked.items()),
        ]
    )


def settings() -> str:
    """A row for each variable: its default, and what it is."""
    fields = Settings.model_fields.items()
    described = ([f"`MOS_{name.upper()}`", _default(field), field.description or ""] for name, field in fields)
    return rows([["setting", "default", ""], ["---", "---", "---"], *described])


def statuses() -> str:
    """A row for each status, with its codes."""
    known = {problem[:2]: _meaning(problem, kind.__doc__) for kind, problem in PROBLEMS.items()}
    known |= {problem[:2]: problem.sentence for problem in HTTP_PROBLEMS.values()}
    means: dict[int, list[str]] = {}
    for (status, code), meaning in sorted(known.items()):
        means.setdefault(status, []).append(f"`{code}`: {meaning}")
    return rows(
        [["status", "`code`"], ["---", "---"], *([str(status), " ".join(texts)] for status, texts in means.items())]
    )


TABLES = {"routes": routes, "settings": settings, "statuses": statuses}


def written_anew(text: str) -> str:
    """Return README's *text* with each table as it is now."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: written by `python -m tests.readme_tables` -->\n", f"<!-- end of {name} -->"
        pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
        found = pattern.findall(text)
        assert len(found) == 1, f"README.md has no place for the table of {name}"
        text = text.replace(found[0], f"{begin}\n{table()}\n\n{end}")
    return text


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory:
        return "usable cores"
    if value == DEFAULT_BUNDLE:
        return "the shipped one"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _meaning(problem: Problem, text: str | None) -> str:
    return problem.sentence or _first_sentence(text)


def _first_sentence(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].strip()


if __name__ == "__main__":
    README.write_text(written_anew(README.read_text(encoding="utf-8")), encoding="utf-8")
