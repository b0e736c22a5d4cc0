"""Label trees: those that ship, those from files, and how they are shown."""

import csv
import json
from pathlib import Path

import pytest

from training.errors import GroupingError
from training.grouping.groups import from_tree, warnings
from training.grouping.taxonomy import as_json, as_table, built_in_names, built_in_tree, tree_file

IMAGENET_COUNTS = {-3: 2, -2: 3, -1: 6, 0: 8, 1: 37, 2: 85, 3: 225, 4: 421, 5: 648, 6: 805}
PAPER_COUNTS = {-3: 2, -2: 3, -1: 6, 0: 8, 1: 36, 2: 85, 3: 225, 4: 416, 5: 642, 6: 789}  # Table 2


@pytest.fixture(scope="module")
def imagenet_rows(shared_data: Path) -> list[dict[str, str]]:
    """The thousand classes with the authors' groups."""
    with (shared_data / "imagenet1k-groups.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_cifar100_taxonomy_is_the_published_one(shared_data: Path) -> None:
    """Twenty super-classes of five, as in the data set's own file."""
    assert built_in_tree("cifar100") == json.loads((shared_data / "cifar100-superclasses.json").read_text())


def test_level_0_of_imagenet_is_the_authors_grouping(imagenet_rows: list[dict[str, str]]) -> None:
    """Every one of the thousand classes is in the authors' super-class."""
    published = {row["wnid"]: row["group"] for row in imagenet_rows}
    assert {name: group for group, names in built_in_tree("imagenet1k").items() for name in names} == published


def test_the_published_groups_are_read_from_their_own_csv(shared_data: Path) -> None:
    """The file beside the checkout is itself a taxonomy, by WordNet id."""
    read = tree_file(shared_data / "imagenet1k-groups.csv")
    assert {group: sorted(names) for group, names in read.items()} == {
        group: sorted(names) for group, names in built_in_tree("imagenet1k").items()
    }


def test_the_superclasses_of_imagenet_stand_in_the_papers_order() -> None:
    """Sizes 398, 521, 9, 7, 52, 8, 3 and 2 (reference: the authors' group configuration)."""
    sizes = {group: len(names) for group, names in built_in_tree("imagenet1k").items()}
    assert list(sizes.items()) == [
        ("animal", 398),
        ("artifact", 521),
        ("geological formation", 9),
        ("fungus", 7),
        ("misc", 52),
        ("natural object", 8),
        ("person", 3),
        ("plant", 2),
    ]


@pytest.mark.parametrize("level", IMAGENET_COUNTS)
def test_a_level_of_imagenet_holds_each_class_once(level: int) -> None:
    """Each level is a partition of the same thousand classes, of as many groups as are documented."""
    tree = built_in_tree("imagenet1k", level)
    listed = sorted(name for names in tree.values() for name in names)
    assert listed == sorted(built_in_names("imagenet1k"))
    assert len(set(listed)) == len(listed) == 1000
    assert len(tree) == IMAGENET_COUNTS[level]


def test_the_levels_of_imagenet_come_near_the_papers() -> None:
    """Six of ten counts are those of Table 2, and the rest lie within three per cent."""
    off = {level: len(built_in_tree("imagenet1k", level)) / count - 1 for level, count in PAPER_COUNTS.items()}
    assert sum(difference == 0 for difference in off.values()) == 6
    assert all(abs(difference) < 0.03 for difference in off.values())


@pytest.mark.parametrize("level", range(-3, 6))
def test_each_level_of_imagenet_refines_the_one_above(level: int) -> None:
    """No group of a level has classes of two groups of the level above."""
    above = {name: group for group, names in built_in_tree("imagenet1k", level).items() for name in names}
    below = built_in_tree("imagenet1k", level + 1)
    assert all(len({above[name] for name in names}) == 1 for names in below.values())


def test_imagenet_classes_have_names_for_people() -> None:
    """The tree's classes are ids; what they are called stands beside them, and CIFAR-100 needs none."""
    names = built_in_names("imagenet1k")
    assert names["n01440764"] == "tench"
    assert names["n01484850"] == "great white shark"
    assert built_in_names("cifar100") == {}


def test_imagenets_small_superclasses_raise_warnings() -> None:
    """Two super-classes have fewer than five classes, and five are others in over 99 % of balanced pictures."""
    tree = built_in_tree("imagenet1k")
    small, rare = warnings(from_tree(tree, sorted(built_in_names("imagenet1k"))))
    assert "person, plant;" in small
    assert "geological formation, fungus, natural object, person, plant;" in rare


def test_an_unknown_taxonomy_is_answered_with_the_known_ones() -> None:
    """The error lists what ships."""
    with pytest.raises(GroupingError, match="cifar100, imagenet1k"):
        built_in_tree("cifar10")


@pytest.mark.parametrize(
    ("name", "level", "known"), [("cifar100", 1, "0"), ("imagenet1k", 7, "-3, -2, -1, 0, 1, 2, 3, 4, 5, 6")]
)
def test_an_unknown_level_is_answered_with_the_known_ones(name: str, level: int, known: str) -> None:
    """The error lists the levels."""
    with pytest.raises(GroupingError, match=rf"no level {level}; choose one of {known}\."):
        built_in_tree(name, level)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tree.json", '{"cats": ["lion", "tiger"], "fish": ["ray"]}'),
        ("tree.csv", "class,group\nlion,cats\nray,fish\n\ntiger,cats\n"),
        ("tree.CSV", "\ufeffGroup, Name ,wnid\r\ncats,x,lion\r\ncats,y,tiger\r\nfish,z,ray\r\n"),
        ("quoted.csv", '"label","group"\n"lion","cats"\n"tiger","cats"\n"ray","fish"\n'),
    ],
)
def test_a_tree_is_read_from_json_or_csv(tmp_path: Path, name: str, content: str) -> None:
    """The suffix tells which; a spreadsheet's byte-order mark, blanks and blank lines do no harm."""
    file = tmp_path / name
    file.write_text(content, "utf-8")
    assert tree_file(file) == {"cats": ["lion", "tiger"], "fish": ["ray"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tree.json", "", "is not JSON"),
        ("tree.json", "[]", "is not a JSON object"),
        ("tree.json", "{}", "is not a JSON object"),
        ("tree.json", '{"cats": "lion"}', "is not a JSON object"),
        ("tree.json", '{"cats": ["lion", 3]}', "is not a JSON object"),
        ("tree.json", '{"cats": ["lion"], "dogs": ["lion"]}', "puts class 'lion' in two groups, 'cats' and 'dogs'"),
        ("tree.csv", "", "has no header"),
        ("tree.csv", "lion,cats\n", "has no header"),
        ("tree.csv", "class,kind\nlion,cats\n", "has no header"),
        ("tree.csv", "class,group\n", "has no classes"),
        ("tree.csv", "class,group\nlion,cats\nray\n", "Line 3 of"),
        ("tree.csv", "class,group\nlion,cats\nlion,dogs\n", "puts class 'lion' in two groups"),
        ("tree.csv", 'class,group\n"lion,cats\n', "is not CSV"),
    ],
)
def test_a_file_that_is_no_tree_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    """The sentence names the file and what is wrong with it."""
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(GroupingError, match=message) as caught:
        tree_file(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """One that is not there, and one that is no text."""
    file = tmp_path / "tree.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(GroupingError, match=r"tree\.json cannot be read"):
        tree_file(file)


def test_a_tree_is_shown_as_json_for_programs() -> None:
    """The form that the design fixes."""
    assert json.loads(as_json({"cats": ["lion"], "fish": ["ray", "trout"]})) == {
        "groups": [{"name": "cats", "classes": ["lion"]}, {"name": "fish", "classes": ["ray", "trout"]}]
    }


def test_a_tree_is_shown_as_a_table_for_people() -> None:
    """Classes appear under the names that people know them by."""
    table = as_table({"cats": ["n1", "n2"]}, {"n1": "lion"})
    assert [list(column.cells) for column in table.columns] == [["cats"], ["2"], ["lion, n2"]]
