"""The builder of ImageNet's label tree: WordNet's file, the way up, the levels."""

import json
from pathlib import Path

import pytest

from training.errors import GroupingError
from training.grouping.wordnet import NOUNS, TREE, build, path, read_nouns, superclass, text

# Two words and two hypernyms; a pointer of another kind; an instance. Offsets are those of the anchors where they are.
SMALL_FILE = """  1 A licence that is no synset.
00001740 03 n 01 entity 0 000 | root
00002137 03 n 01 abstraction 0 001 @ 00001740 n 0000 | an anchor
00021939 03 n 01 artifact 0 001 @ 00001740 n 0000 | an anchor
00015388 03 n 01 animal 0 001 @ 00001740 n 0000 | an anchor
00000010 05 n 02 big_cat 0 cat 1 002 @ 00015388 n 0000 ~ 00000011 n 0000 | between
00000011 05 n 01 lion 0 001 @ 00000010 n 0000 | a class
00000012 05 n 01 beast 0 001 @ 00015388 n 0000 | between
00000013 05 n 01 tiger 0 003 @ 00000010 n 0000 #m 00000011 n 0000 @ 00000012 n 0000 | a class with two parents
00000014 05 n 01 toy 0 002 @ 00021939 n 0000 @ 00000012 n 0000 | a class of two super-classes
00000015 05 n 01 sign 0 001 @i 00002137 n 0000 | a class of misc
00000016 05 n 01 dead_end 0 001 @ 00001740 n 0000 | leads to no anchor
00000017 05 n 01 cloth 0 002 @ 00000016 n 0000 @ 00021939 n 0000 | a class whose first parent leads nowhere
"""


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A few synsets in WordNet's format."""
    file = tmp_path / "data.noun"
    file.write_text(SMALL_FILE)
    return file


def test_words_and_hypernyms_are_read(small_file: Path) -> None:
    """The first word with blanks for underscores, and hypernyms alone among the pointers, instances included."""
    nouns = read_nouns(small_file)
    assert nouns.words["n00000010"] == "big cat"
    assert nouns.hypernyms["n00000013"] == ("n00000010", "n00000012")
    assert nouns.hypernyms["n00000015"] == ("n00002137",)
    assert nouns.hypernyms["n00001740"] == ()
    assert len(nouns.words) == 12


def test_the_first_hypernym_that_leads_to_a_superclass_decides(small_file: Path) -> None:
    """A toy is an artifact before it is an animal, and a way that leads nowhere does not count."""
    nouns = read_nouns(small_file)
    assert superclass(nouns, "n00000014") == "artifact"
    assert superclass(nouns, "n00000017") == "artifact"
    assert superclass(nouns, "n00000015") == "misc"


def test_the_way_down_takes_the_last_hypernym_inside_the_superclass(small_file: Path) -> None:
    """The tiger goes by way of the beast; the toy stays among artifacts; misc keeps its anchor as a level."""
    nouns = read_nouns(small_file)
    assert path(nouns, "n00000013") == ("animal", "n00000012", "n00000013")
    assert path(nouns, "n00000014") == ("artifact", "n00000014")
    assert path(nouns, "n00000015") == ("misc", "n00002137", "n00000015")


def test_levels_go_down_a_hyponym_at_a_time(small_file: Path) -> None:
    """A class that is reached stays a group of its own."""
    levels = build(read_nouns(small_file), ["n00000015", "n00000013", "n00000011", "n00000014"])["levels"]
    assert isinstance(levels, dict)
    lion, tiger, toy, sign = ["n00000011"], ["n00000013"], ["n00000014"], ["n00000015"]
    assert levels["0"] == {"animal": lion + tiger, "artifact": toy, "misc": sign}
    assert levels["1"] == {"big cat": lion, "beast": tiger, "toy": toy, "abstraction": sign}
    assert levels["2"] == levels["6"] == {"lion": lion, "tiger": tiger, "toy": toy, "sign": sign}
    assert levels["-1"]["animal, plant, fungus"] == lion + tiger


def test_the_file_is_short_and_still_the_same_json(small_file: Path) -> None:
    """A group a line."""
    content = build(read_nouns(small_file), ["n00000013", "n00000011"])
    assert json.loads(text(content)) == content
    assert '   "animal": ["n00000011", "n00000013"]' in text(content).splitlines()


def test_the_shipped_tree_is_what_wordnet_gives() -> None:
    """Byte for byte, so that nobody has to believe the file."""
    if not NOUNS.is_file():
        pytest.skip("WordNet 3.0 is not installed (Debian's wordnet-base)")
    shipped = TREE.read_text("utf-8")
    assert text(build(read_nouns(NOUNS), json.loads(shipped)["classes"])) == shipped


def test_wordnet_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The sentence names the file and where to get it."""
    with pytest.raises(GroupingError, match=r"no .*data\.noun; install WordNet"):
        read_nouns(tmp_path / "data.noun")
