"""Builds `taxonomies/imagenet1k.json`, the label tree of ImageNet-1k, from WordNet 3.0.

    python -m training.grouping.wordnet

WordNet's nouns are Debian's package `wordnet-base`; an ImageNet id is `n` and the offset of a synset in its file. The
1,000 ids are no matter of rules and are read from the tree that is there.

Level 0 are the eight super-classes of the paper (Figure 10): a class belongs to the first of ANCHORS that is met on the
way up, through the first hypernym that meets one. The two classes of EXCEPTIONS stand elsewhere in the authors' lists.
Levels -3 to -1 merge super-classes (paper, supplement B.2). Levels 1 to 6 go down from a super-class one hyponym a
level; a class that is reached earlier is a group of its own from there on; *misc* first splits into its three anchors.

304 classes have several hypernym paths, and the paper does not say which one counts. These rules were tried; the one
that comes nearest is kept, and no rule gave all six counts.

    level                                        1   2    3    4    5    6
    paper, Table 2                              36  85  225  416  642  789
    last hypernym of each synset (kept)         37  85  225  421  648  805
    first hypernym of each synset               35  83  207  379  549  679
    hypernym of the lowest id                   35  83  220  413  641  803
    downwards, the hyponym of the lowest id     37  84  215  408  639  800
    downwards, the alphabetically last hyponym  36  85  234  430  656  805
    shortest path                               37  87  237  442  674  819
    longest path                                34  80  193  355  523  664
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.errors import GroupingError
from training.progress import say

NOUNS = Path("/usr/share/wordnet/data.noun")
TREE = Path(__file__).parent / "taxonomies" / "imagenet1k.json"

# The leaf nodes of the paper's Figure 10.
ANCHORS = {
    "n00015388": "animal",
    "n00021939": "artifact",
    "n09287968": "geological formation",
    "n12992868": "fungus",
    "n00002137": "misc",  # abstract entity
    "n00020827": "misc",  # matter
    "n00027167": "misc",  # location
    "n00019128": "natural object",
    "n00007846": "person",
    "n00017222": "plant",
}
EXCEPTIONS = {"n07742313": "natural object", "n09421951": "natural object"}  # Granny Smith, sandbar
SUPERCLASSES = tuple(dict.fromkeys(ANCHORS.values()))  # in the order of the paper's listing
MERGED: dict[int, tuple[tuple[str, ...], ...]] = {
    -3: (
        ("animal", "plant", "fungus"),
        ("artifact", "natural object", "geological formation", "person", "misc"),
    ),
    -2: (
        ("animal", "plant", "fungus"),
        ("artifact", "natural object"),
        ("geological formation", "person", "misc"),
    ),
    -1: (
        ("animal", "plant", "fungus"),
        ("artifact",),
        ("natural object",),
        ("geological formation",),
        ("person",),
        ("misc",),
    ),
}
DEEPEST = 6
SOURCE = "Made by wordnet.py from WordNet 3.0, Copyright 2006 by Princeton University. All rights reserved."

Tree = dict[str, list[str]]


@dataclass(frozen=True)
class Nouns:
    """WordNet's nouns: the first word of each synset, and its hypernyms in the file's order."""

    words: Mapping[str, str]  # {id: word}
    hypernyms: Mapping[str, tuple[str, ...]]  # {id: ids}

    def anchors(self, synset: str) -> set[str]:
        """Those of ANCHORS that are met on the ways up from a synset, itself included."""
        if synset in ANCHORS:
            return {synset}
        return {anchor for parent in self.hypernyms[synset] for anchor in self.anchors(parent)}


def read_nouns(file: Path) -> Nouns:
    """Read WordNet's `data.noun` (format: wndb(5WN))."""
    if not file.is_file():
        raise GroupingError(f"There is no {file}; install WordNet 3.0 (Debian's wordnet-base) or name its data.noun.")
    words, hypernyms = {}, {}
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("  "):  # the licence
            continue
        fields = line.partition(" | ")[0].split(" ")
        first_pointer = 5 + 2 * int(fields[3], 16)  # after the words, each with its lexical id, and the count
        pointers = zip(fields[first_pointer::4], fields[first_pointer + 1 :: 4], strict=False)
        words["n" + fields[0]] = fields[4].replace("_", " ")
        hypernyms["n" + fields[0]] = tuple("n" + target for symbol, target in pointers if symbol in ("@", "@i"))
    return Nouns(words, hypernyms)


def superclass(nouns: Nouns, synset: str) -> str:
    """The super-class of a class: through the first hypernym that leads to one."""
    here = synset
    while here not in ANCHORS:
        here = next(parent for parent in nouns.hypernyms[here] if nouns.anchors(parent))
    return EXCEPTIONS.get(synset, ANCHORS[here])


def path(nouns: Nouns, synset: str) -> tuple[str, ...]:
    """The way down from a class's super-class to the class itself: its group at level 0, 1, 2, ...

    Each step up takes the last hypernym that stays inside the super-class.
    """
    home = superclass(nouns, synset)
    way = [synset]
    while way[0] not in ANCHORS:
        inside = [
            parent
            for parent in nouns.hypernyms[way[0]]
            if any(ANCHORS[anchor] == home for anchor in nouns.anchors(parent))
        ]
        way.insert(0, inside[-1])
    return (home, *way) if home == "misc" else (home, *way[1:])


def build(nouns: Nouns, synsets: Iterable[str]) -> dict[str, object]:
    """The content of the tree's file: {"source", "classes": {id: name}, "levels": {level: {group: [id, ...]}}}."""
    ways = {synset: path(nouns, synset) for synset in sorted(synsets)}
    rank = {name: index for index, name in enumerate(SUPERCLASSES)}
    ordered = sorted(ways, key=lambda synset: (rank[ways[synset][0]], ways[synset]))
    levels = {str(level): _merged(ways, parts) for level, parts in MERGED.items()}
    for level in range(DEEPEST + 1):
        groups: Tree = {}
        for synset in ordered:
            way = ways[synset]
            groups.setdefault(way[min(level, len(way) - 1)], []).append(synset)
        levels[str(level)] = _named(nouns, groups)
    return {"source": SOURCE, "classes": {synset: nouns.words[synset] for synset in ways}, "levels": levels}


def _merged(ways: Mapping[str, tuple[str, ...]], parts: Iterable[tuple[str, ...]]) -> Tree:
    return {", ".join(part): [synset for synset, way in ways.items() if way[0] in part] for part in parts}


def _named(nouns: Nouns, groups: Tree) -> Tree:
    """Groups under their synset's word, with the id where two synsets of a level share it."""
    words = {group: nouns.words.get(group, group) for group in groups}
    shared = Counter(words.values())
    return {
        words[group] if shared[words[group]] == 1 else f"{words[group]} ({group})": sorted(members)
        for group, members in groups.items()
    }


def text(content: object) -> str:
    """The file's text: a group a line."""
    lines = json.dumps(content, indent=1, ensure_ascii=False)
    return lines.replace('",\n    "n', '", "n').replace("[\n    ", "[").replace("\n   ]", "]") + "\n"


def main(arguments: list[str]) -> None:
    """Rewrite the tree's file from a `data.noun`, by default Debian's."""
    synsets = json.loads(TREE.read_text("utf-8"))["classes"]
    content = build(read_nouns(Path(arguments[0]) if arguments else NOUNS), synsets)
    temporary = TREE.with_suffix(".new")
    temporary.write_text(text(content), "utf-8")
    temporary.replace(TREE)
    say(f"wrote {TREE}")


if __name__ == "__main__":
    main(sys.argv[1:])
