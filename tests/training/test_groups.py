"""Groupings: where they come from and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.errors import GroupingError
from training.groups import Grouping, at_random, built_in_tree, by_clustering, from_tree, tree_file


def test_the_cifar100_taxonomy_is_the_published_one(shared_data: Path) -> None:
    """Twenty super-classes of five, as in the data set's own file."""
    assert built_in_tree("cifar100") == json.loads((shared_data / "cifar100-superclasses.json").read_text())


def test_every_class_is_encoded_once_in_its_group_and_as_others_elsewhere() -> None:
    """Row c of the targets is zero but for the class's position in its own group."""
    groups = Grouping(("a", "b"), ((0, 3), (1, 2, 4)))
    assert groups.logit_count == 7
    assert groups.tables().targets.tolist() == [[1, 0], [0, 1], [0, 2], [2, 0], [0, 3]]
    assert groups.tables().logit_index.tolist() == [[0, 1, 2, 0], [3, 4, 5, 6]]
    assert groups.tables().padding.tolist() == [[False, False, False, True], [False] * 4]


def test_a_tree_groups_only_the_classes_there_are() -> None:
    """Groups without a class of the data set are left out."""
    groups = from_tree({"cats": ["lion", "tiger"], "fish": ["ray"], "dogs": ["wolf"]}, ["lion", "wolf"])
    assert groups == Grouping(("cats", "dogs"), ((0,), (1,)))


@pytest.mark.parametrize(
    ("tree", "message"),
    [({"cats": ["lion"]}, "no group for class 'wolf'"), ({"cats": ["lion", "wolf"], "dogs": ["wolf"]}, "two groups")],
)
def test_a_tree_that_does_not_fit_is_refused(tree: dict[str, list[str]], message: str) -> None:
    """A class without a group, or in two, is named."""
    with pytest.raises(GroupingError, match=message):
        from_tree(tree, ["lion", "wolf"])


@pytest.mark.parametrize("content", ["", "[]", '{"cats": "lion"}'])
def test_a_taxonomy_file_that_is_no_tree_is_named(tmp_path: Path, content: str) -> None:
    """The sentence names the file."""
    file = tmp_path / "tree.json"
    file.write_text(content)
    with pytest.raises(GroupingError, match=r"tree\.json"):
        tree_file(file)


def test_an_unknown_taxonomy_is_answered_with_the_known_ones() -> None:
    """The error lists what ships."""
    with pytest.raises(GroupingError, match="cifar100"):
        built_in_tree("cifar10")


def test_clustering_finds_the_clusters_that_are_there() -> None:
    """Three clouds of class means become three groups, named in a fixed order."""
    centres = np.repeat(np.eye(3, 5, dtype=np.float32) * 10, [4, 2, 3], axis=0)
    means = centres + np.random.default_rng(0).normal(0, 0.1, centres.shape).astype(np.float32)
    groups = by_clustering(means, 3, seed=0)
    assert groups == Grouping(("cluster 1", "cluster 2", "cluster 3"), ((0, 1, 2, 3), (4, 5), (6, 7, 8)))


def test_random_groups_have_equal_sizes_within_one() -> None:
    """Ten classes in four groups, each class once, and another partition for another seed."""
    groups = at_random(10, 4, seed=0)
    assert sorted(len(group) for group in groups.members) == [2, 2, 3, 3]
    assert groups != at_random(10, 4, seed=1)


@pytest.mark.parametrize("count", [0, 4])
def test_more_groups_than_classes_are_refused(count: int) -> None:
    """K lies between 1 and C."""
    with pytest.raises(GroupingError, match="ask for 1 to 3"):
        at_random(3, count, seed=0)


@pytest.mark.parametrize("members", [((0, 1), (1,)), ((0,), (2,)), ((0, 1), ())])
def test_a_grouping_holds_each_class_once_and_no_empty_group(members: tuple[tuple[int, ...], ...]) -> None:
    """Repeated, missing and empty are refused."""
    with pytest.raises(GroupingError):
        Grouping(("a", "b"), members)
