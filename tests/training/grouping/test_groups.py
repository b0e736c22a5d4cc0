"""Groupings: where they come from and what they refuse."""

from itertools import pairwise

import numpy as np
import pytest

from training.errors import GroupingError
from training.grouping.groups import Grouping, from_tree, warnings
from training.grouping.strategies import at_random, by_clustering

TREE = {"cats": ["lion", "tiger"], "fish": ["ray", "trout", "shark"], "dogs": ["wolf"]}
CLASSES = ("lion", "ray", "shark", "tiger", "trout", "wolf")


def partition(groups: Grouping, classes: tuple[str, ...]) -> set[frozenset[str]]:
    """Which classes share a group, by name."""
    return {frozenset(classes[index] for index in members) for members in groups.members}


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


def test_a_tree_of_other_classes_is_refused_as_such() -> None:
    """The sentence names the tree, one of its classes and one of the data's."""
    with pytest.raises(GroupingError, match=r"^animals\.csv is of other classes, such as 'lion'.*such as 'desk'"):
        from_tree(TREE, ["desk", "lamp"], source="animals.csv")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_order_of_the_classes_does_not_change_which_share_a_group(seed: int) -> None:
    """An index means nothing by itself: data that list the classes in another order are grouped alike."""
    shuffled = tuple(np.random.default_rng(seed).permutation(CLASSES).tolist())
    assert shuffled != CLASSES
    assert partition(from_tree(TREE, shuffled), shuffled) == partition(from_tree(TREE, CLASSES), CLASSES)
    assert partition(from_tree(TREE, CLASSES), CLASSES) == {frozenset(names) for names in TREE.values()}


def test_new_names_of_the_classes_do_not_change_which_share_a_group() -> None:
    """The same tree under other names, which sort in another order, gives the same members."""
    renamed = {name: f"{len(CLASSES) - index} {name}" for index, name in enumerate(CLASSES)}
    tree = {group: [renamed[name] for name in names] for group, names in TREE.items()}
    assert from_tree(tree, [renamed[name] for name in CLASSES]).members == from_tree(TREE, CLASSES).members


def test_the_order_of_the_classes_does_not_change_the_clusters() -> None:
    """Feature clustering too follows the classes, wherever they stand."""
    means = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32) + np.repeat([[0], [9], [30]], 2, axis=0)
    order = np.array([4, 0, 3, 5, 1, 2])
    shuffled = tuple(CLASSES[index] for index in order)
    clusters = by_clustering(means.astype(np.float32), 3, seed=0)
    assert partition(by_clustering(means[order].astype(np.float32), 3, seed=0), shuffled) == partition(
        clusters, CLASSES
    )


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
    assert groups == at_random(10, 4, seed=0)
    assert groups != at_random(10, 4, seed=1)


@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_any_number_of_groups_can_be_drawn(count: int) -> None:
    """From one group of all classes to a group a class."""
    assert len(at_random(10, count, seed=0).members) == count


def test_as_in_section_3_3_each_class_draws_its_group_alone() -> None:
    """Sizes then differ by more than one, and over many classes every group has about its share."""
    groups = at_random(1000, 8, seed=0, equal_sizes=False)
    sizes = sorted(len(group) for group in groups.members)
    assert len(sizes) == 8
    assert sizes[-1] - sizes[0] > 1
    assert all(80 < size < 170 for size in sizes)  # 125, four standard deviations of 10.5 about it


def test_groups_that_no_class_drew_are_left_out() -> None:
    """Ten classes that draw among ten groups leave some empty; names stay in order."""
    groups = at_random(10, 10, seed=0, equal_sizes=False)
    assert len(groups.members) < 10
    assert groups.names == tuple(f"random {index + 1}" for index in range(len(groups.members)))
    assert groups.class_count == 10


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


def sized(*sizes: int) -> Grouping:
    """Groups a, b, c ... of these sizes."""
    edges = np.cumsum((0, *sizes)).tolist()
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: len(sizes)])
    return Grouping(names, tuple(tuple(range(low, high)) for low, high in pairwise(edges)))


def test_groups_of_fewer_than_five_classes_are_named() -> None:
    """Five are enough; each kind of warning is one sentence."""
    (sentence,) = warnings(sized(5, 4, 20, 1))
    assert sentence.startswith("Fewer than 5 classes in b, d;")


def test_groups_that_are_nearly_always_others_are_named() -> None:
    """More than 99 % of balanced pictures: nine classes of a thousand, not ten."""
    (sentence,) = warnings(sized(981, 10, 9))
    assert "more than 99% of balanced pictures in c;" in sentence


def test_balanced_groups_raise_no_warning() -> None:
    """CIFAR-100's twenty super-classes of five, say."""
    assert warnings(sized(*[5] * 20)) == []


def test_many_groups_are_counted_instead_of_named() -> None:
    """A sentence stays readable when every group is small."""
    (sentence,) = warnings(sized(*[1] * 12))
    assert "in a, b, c, d, e, f, g, h and 4 more groups;" in sentence
