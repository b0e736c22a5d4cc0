"""What `groups` shows: the grouping of a taxonomy, a bundle or a data set, with what there is to say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.bundle import read_bundle
from training.data.sets import read_data_set
from training.errors import GroupingError
from training.grouping import groups
from training.grouping.groups import Grouping
from training.grouping.taxonomy import Tree, built_in_names, built_in_tree, tree_file


@dataclass(frozen=True)
class Description:
    """A grouping as a tree, what people call its classes where that differs, and remarks for standard error."""

    tree: Tree
    names: dict[str, str]
    remarks: list[str]


def describe(
    taxonomy: str | None, level: int, bundle: Path | None, data: Path | None, *, extractor: Path, seed: int
) -> Description:
    """The grouping of one of the three, or of `data` by `taxonomy` (a built-in name, or a JSON or CSV file).

    Data that have neither a taxonomy nor super-class folders are clustered by the features of the bundle `extractor`,
    into the number of groups that is recommended for them. Raises GroupingError.
    """
    if bundle is not None and taxonomy is None and data is None:
        return _of_bundle(bundle)
    if taxonomy is not None and bundle is None:
        return _of_taxonomy(taxonomy, level, data)
    if data is not None and bundle is None:
        return _of_data(data, extractor, seed)
    raise GroupingError("Name what to show: --taxonomy NAME or FILE, --bundle FOLDER or --data FOLDER.")


def _of_bundle(folder: Path) -> Description:
    manifest = read_bundle(folder).manifest
    names = tuple(group.name for group in manifest.groups)
    grouping = Grouping(names, tuple(tuple(group.classes) for group in manifest.groups))
    return _described(grouping, manifest.classes, {}, [])


def _of_taxonomy(taxonomy: str, level: int, data: Path | None) -> Description:
    is_file = taxonomy.lower().endswith((".json", ".csv"))
    if is_file and level:
        raise GroupingError(f"The taxonomy {taxonomy} is a file and has no levels; leave out --level.")
    tree = tree_file(Path(taxonomy)) if is_file else built_in_tree(taxonomy, level)
    names = {} if is_file else built_in_names(taxonomy)
    classes = read_data_set(data).classes if data else sorted({name for listed in tree.values() for name in listed})
    return _described(groups.from_tree(tree, classes, source=f"The taxonomy {taxonomy}"), classes, names, [])


def _of_data(folder: Path, extractor: Path, seed: int) -> Description:
    data = read_data_set(folder)
    if data.superclasses is not None:
        grouping = groups.from_tree(data.superclasses, data.classes, source=f"The folder {folder}")
        return _described(grouping, data.classes, {}, [])
    # Features need torch and the pictures; a taxonomy or a bundle is shown without.
    from training.studies.group_count import recommend_for

    recommendation, grouping = recommend_for(read_bundle(extractor), data, seed=seed)
    remarks = [
        f"{row.group_count} groups: proxy AUROC {row.auroc:.3f}, +-{row.spread:.3f}" for row in recommendation.rows
    ]
    remarks.append(f"recommended: --grouping clusters:{recommendation.group_count} (classes held out stood for OOD)")
    return _described(grouping, data.classes, {}, remarks)


def _described(grouping: Grouping, classes: Sequence[str], names: dict[str, str], remarks: list[str]) -> Description:
    members = zip(grouping.names, grouping.members, strict=True)
    tree = {name: [classes[index] for index in group] for name, group in members}
    return Description(tree, names, remarks + [f"warning: {sentence}" for sentence in groups.warnings(grouping)])
