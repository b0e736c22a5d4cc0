"""Taxonomies: label trees {group: [class name, ...]}, built in or from files, and how they are shown.

A file is either JSON, an object of that form, or CSV with a header: a column `group` and one that names the class,
the first there is of `class`, `wnid`, `label`, `name`; other columns are not read.

Built in are `cifar100`, its twenty super-classes, and `imagenet1k`, ten levels of WordNet
(see `wordnet.py`), whose classes are WordNet ids as in ImageNet's folders.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rich.table import Table

from training.errors import GroupingError

CLASS_COLUMNS = ("class", "wnid", "label", "name")
GROUP_COLUMN = "group"

Tree = dict[str, list[str]]


def built_in_tree(name: str, level: int = 0) -> Tree:
    """A label tree that ships with the package; a higher level has more groups.

    Raises GroupingError for a name or a level that does not exist.
    """
    content = _content(name)
    levels: dict[str, Tree] = content.get("levels", {"0": content})
    if str(level) not in levels:
        raise GroupingError(f"The taxonomy {name!r} has no level {level}; choose one of {', '.join(levels)}.")
    return levels[str(level)]


def built_in_levels(name: str) -> list[int]:
    """The levels of a built-in tree, coarsest first."""
    return sorted(map(int, _content(name).get("levels", {"0": None})))


def built_in_names(name: str) -> dict[str, str]:
    """What people call the classes of a built-in tree, {class: name}; empty where the classes are names already."""
    content = _content(name)
    return dict(content["classes"]) if "levels" in content else {}


def _content(name: str) -> dict[str, Any]:
    folder = resources.files("training.grouping") / "taxonomies"
    known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    if name not in known:
        raise GroupingError(
            f"There is no built-in taxonomy {name!r}; choose one of {', '.join(known)}, or name a file."
        )
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return content


def tree_file(path: Path) -> Tree:
    """A label tree from a CSV file (`.csv`) or a JSON file (any other name).

    Raises GroupingError for a file that cannot be read, is no tree, or puts a class in two groups.
    """
    try:
        text = path.read_text("utf-8-sig")  # spreadsheets write a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        raise GroupingError(f"The taxonomy {path} cannot be read; name a JSON or CSV file in UTF-8.") from error
    tree = _from_csv(text, path) if path.suffix.lower() == ".csv" else _from_json(text, path)
    homes(tree, f"The taxonomy {path}")
    return tree


def _from_json(text: str, path: Path) -> Tree:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise GroupingError(f"The taxonomy {path} is not JSON; give an object of group: [class names].") from error
    lists = list(value.values()) if isinstance(value, dict) else [None]
    if not lists or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists
    ):
        raise GroupingError(f"The taxonomy {path} is not a JSON object of group: [class names]; rewrite it as one.")
    return {group: list(names) for group, names in value.items()}


def _from_csv(text: str, path: Path) -> Tree:
    try:
        lines = list(csv.reader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise GroupingError(f"The taxonomy {path} is not CSV; separate the columns by commas.") from error
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    column = next((name for name in CLASS_COLUMNS if name in header), None)
    if column is None or GROUP_COLUMN not in header:
        raise GroupingError(f"The taxonomy {path} has no header `class,group`; write one as its first line.")
    tree: Tree = {}
    for number, cells in enumerate(lines[1:], 2):
        if not any(cells):
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if not row.get(column) or not row.get(GROUP_COLUMN):
            raise GroupingError(f"Line {number} of the taxonomy {path} lacks a class or its group; write both.")
        tree.setdefault(row[GROUP_COLUMN], []).append(row[column])
    if not tree:
        raise GroupingError(f"The taxonomy {path} has no classes under its header; write a class and its group a line.")
    return tree


def homes(tree: Mapping[str, Sequence[str]], source: str) -> dict[str, str]:
    """The group of each class. Raises GroupingError for a class in two groups; `source` begins its sentence."""
    home: dict[str, str] = {}
    for group, names in tree.items():
        for name in names:
            if home.setdefault(name, group) != group:
                raise GroupingError(
                    f"{source} puts class {name!r} in two groups, {home[name]!r} and {group!r}; keep it in one."
                )
    return home


def as_json(tree: Mapping[str, Sequence[str]]) -> str:
    """{"groups": [{"name", "classes"}]}."""
    groups = [{"name": name, "classes": list(classes)} for name, classes in tree.items()]
    return json.dumps({"groups": groups}, indent=1, ensure_ascii=False)


def as_table(tree: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> Table:
    """A row a group; `names` is what people call the classes, where that is something else."""
    table = Table("group", "classes", "members")
    for group, classes in tree.items():
        table.add_row(group, str(len(classes)), ", ".join(names.get(name, name) for name in classes))
    return table
