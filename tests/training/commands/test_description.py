"""What the command `groups` shows, and of what."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.bundle import Bundle
from training.commands.description import Description, describe
from training.errors import GroupingError
from training.grouping.taxonomy import built_in_tree


@pytest.fixture
def show(tiny_bundle: Bundle):
    """`describe` with nothing named but what a test names."""

    def shown(
        taxonomy: str | None = None, level: int = 0, bundle: Path | None = None, data: Path | None = None
    ) -> Description:
        return describe(taxonomy, level, bundle, data, extractor=tiny_bundle.path, seed=0)

    return shown


def write_classes(folder: Path, names: list[str], count: int = 6) -> Path:
    """Class folders of pictures of one colour each, with noise."""
    generator = np.random.default_rng(0)
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(generator.normal(index * 40, 8, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_a_level_of_a_built_in_taxonomy_is_shown(show) -> None:
    """With its groups in order, names for people and warnings."""
    shown = show("imagenet1k", -2)
    assert {group: sorted(names) for group, names in shown.tree.items()} == built_in_tree("imagenet1k", -2)
    assert shown.names["n01440764"] == "tench"
    assert shown.remarks == []
    assert [remark.partition(" ")[0] for remark in show("imagenet1k").remarks] == ["warning:", "warning:"]


def test_a_taxonomy_file_is_shown_and_has_no_levels(show, tmp_path: Path) -> None:
    """A level beside a file is a mistake."""
    file = tmp_path / "tree.csv"
    file.write_text("class,group\nlion,cats\nray,fish\n")
    assert show(str(file)).tree == {"cats": ["lion"], "fish": ["ray"]}
    with pytest.raises(GroupingError, match=r"tree\.csv is a file and has no levels"):
        show(str(file), 1)


def test_a_taxonomy_can_be_tried_on_data(show, tmp_path: Path) -> None:
    """Only the data's classes are shown, and one without a group is refused in a sentence that names the file."""
    file = tmp_path / "tree.csv"
    file.write_text("class,group\nlion,cats\nray,fish\nwolf,dogs\n")
    assert show(str(file), data=write_classes(tmp_path / "a", ["lion", "wolf"])).tree == {
        "cats": ["lion"],
        "dogs": ["wolf"],
    }
    with pytest.raises(GroupingError, match=r"tree\.csv has no group for class 'shark'"):
        show(str(file), data=write_classes(tmp_path / "b", ["lion", "shark"]))


def test_the_grouping_of_a_bundle_is_shown(show, tiny_bundle: Bundle) -> None:
    """As its manifest has it."""
    manifest = tiny_bundle.manifest
    expected = {group.name: [manifest.classes[index] for index in group.classes] for group in manifest.groups}
    assert show(bundle=tiny_bundle.path).tree == expected


def test_superclass_folders_are_shown(show, tmp_path: Path) -> None:
    """Data that bring a taxonomy need no recommendation."""
    write_classes(tmp_path / "data" / "cats", ["lion", "tiger"])
    write_classes(tmp_path / "data" / "fish", ["ray"])
    assert show(data=tmp_path / "data").tree == {"cats": ["lion", "tiger"], "fish": ["ray"]}


def test_data_without_a_taxonomy_are_clustered_as_recommended(show, tmp_path: Path) -> None:
    """A row a number of groups, then the option to give to `train`, and every class in a cluster."""
    shown = show(data=write_classes(tmp_path / "data", ["a", "b", "c", "d", "e"]))
    assert [remark.partition(":")[0] for remark in shown.remarks[:3]] == ["2 groups", "3 groups", "recommended"]
    assert f"clusters:{len(shown.tree)} " in shown.remarks[2]
    assert sorted(name for names in shown.tree.values() for name in names) == ["a", "b", "c", "d", "e"]


def test_nothing_and_too_much_are_refused(show, tiny_bundle: Bundle, tmp_path: Path) -> None:
    """One thing is shown at a time."""
    with pytest.raises(GroupingError, match="Name what to show"):
        show()
    with pytest.raises(GroupingError, match="Name what to show"):
        show("cifar100", bundle=tiny_bundle.path)
    with pytest.raises(GroupingError, match="Name what to show"):
        show(bundle=tiny_bundle.path, data=tmp_path)
