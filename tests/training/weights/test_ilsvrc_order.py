"""The development kit's class order and the way back to sorted WordNet ids."""

import csv
from pathlib import Path

from training.grouping.taxonomy import built_in_tree
from training.weights import ilsvrc_order

KIT_FOX, TENCH = "n02119789", "n01440764"


def test_the_kit_and_the_sorted_ids_hold_the_same_thousand_classes() -> None:
    """The kit begins with the kit fox, which stands 278th among the sorted ids, and the tench is its 448th."""
    kit, ids = ilsvrc_order.classes("official"), ilsvrc_order.classes()
    assert len(set(kit)) == 1000
    assert sorted(kit) == list(ids) == list(ilsvrc_order.classes("paper"))
    assert (kit[0], ids[278], kit[448], ids[0]) == (KIT_FOX, KIT_FOX, TENCH, TENCH)


def test_the_groups_have_the_sizes_of_the_authors_head() -> None:
    """Eight groups of the published sizes in either order of labels: 1,008 logits."""
    for label_order in ("official", "corrected"):
        grouping = ilsvrc_order.grouping(label_order)
        assert [len(group) for group in grouping.members] == [398, 521, 9, 7, 52, 8, 3, 2]
        assert grouping.logit_count == 1008


def test_official_order_leaves_every_row_where_it_is() -> None:
    """Whoever follows the official code gets the head as it is stored."""
    assert ilsvrc_order.flat_rows("official") == list(range(1000))
    assert ilsvrc_order.group_rows("official") == list(range(1008))


def test_each_flat_row_lands_at_its_sorted_id() -> None:
    """Row i of the kit's order lands at the place of its id among the sorted ids."""
    kit, ids = ilsvrc_order.classes("official"), ilsvrc_order.classes()
    assert [kit[row] for row in ilsvrc_order.flat_rows()] == list(ids)


def test_each_group_row_lands_at_its_class_and_others_stay_first() -> None:
    """The logit of a class, found by the grouping's own tables, comes from the row that the kit gives that class."""
    rows = ilsvrc_order.group_rows()
    assert sorted(rows) == list(range(1008))
    kit_tables, tables = ilsvrc_order.grouping("official").tables(), ilsvrc_order.grouping().tables()
    assert [rows[start] for start in tables.logit_index[:, 0]] == list(kit_tables.logit_index[:, 0])
    kit = ilsvrc_order.classes("official")
    for index, name in enumerate(ilsvrc_order.classes()):
        theirs = kit.index(name)
        logit = tables.logit_index[tables.class_group[index], tables.class_position[index]]
        stored = kit_tables.logit_index[kit_tables.class_group[theirs], kit_tables.class_position[theirs]]
        assert rows[logit] == stored


def test_the_groups_are_the_built_in_taxonomys() -> None:
    """The authors' groups are level 0 of the ImageNet tree that ships, class by class."""
    tree, ids, grouping = built_in_tree("imagenet1k"), ilsvrc_order.classes(), ilsvrc_order.grouping()
    theirs = {
        name: {ids[index] for index in group} for name, group in zip(grouping.names, grouping.members, strict=True)
    }
    assert {name: set(classes) for name, classes in tree.items()} == theirs


def test_the_table_is_the_published_one(shared_data: Path) -> None:
    """Order, groups and ranks inside the groups equal the table that lies beside the checkout."""
    rows = list(csv.DictReader((shared_data / "imagenet1k-groups.csv").read_text("utf-8").splitlines()))
    kit, grouping = ilsvrc_order.classes("official"), ilsvrc_order.grouping("official")
    assert len(rows) == 1000
    for row in rows:
        index = int(row["devkit_index"])
        assert kit[index] == row["wnid"]
        members = grouping.members[grouping.names.index(row["group"])]
        assert members.index(index) == int(row["index_in_group"])
