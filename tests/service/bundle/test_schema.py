"""A model holds only what makes sense, and says what follows from it."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from service.bundle import KNOWN_PARTS, Calibration, Group, GroupThreshold, InputSpec, StatisticPart, sha256_hex
from tests.service.bundle.parts import (
    a_calibration,
    a_decision,
    a_grouped_calibration,
    a_judged_calibration,
    a_manifest,
    a_part,
)

MOS_AND_KNN = a_decision(a_part("mos", mean=-0.3, deviation=0.2), a_part("knn", weight=0.5, parameters={"k": 5}))


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": [Group(name="animal", classes=[0, 1])]},
        {"groups": [Group(name="animal", classes=[0, 1]), Group(name="food", classes=[1, 2])]},
        {"groups": [Group(name="animal", classes=[0, 1, 2, 3])]},
        {"groups": [Group(name="a", classes=[0, 1]), Group(name="a", classes=[2])]},
        {"groups": []},
        {"classes": []},
        {"classes": ["cat", "cat", "apple"]},
        {"classes": ["cat", "", "apple"]},
        {"created": datetime(2026, 1, 2)},
        {"model_sha256": "ABC"},
        {"unknown": 1},
        {"schema_version": 3},
        {"schema_version": 1, "decision": MOS_AND_KNN},
        {"name": ""},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Groups hold every class exactly once; names are unique and not empty; nothing unknown is carried along."""
    with pytest.raises(ValidationError):
        a_manifest(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": float("nan")},
        {"threshold": float("-inf")},
        {"tpr": 1.5},
        {"n": 99},
        {"n": 0},
        {"reference": {"ranks": [2, 100], "scores": [-0.9, -0.1]}},
        {"reference": {"ranks": [1, 50, 50, 100], "scores": [-0.9, -0.5, -0.5, -0.1]}},
        {"reference": {"ranks": [1, 100], "scores": [-0.1, -0.9]}},
        {"reference": {"ranks": [1, 100], "scores": [-0.9]}},
        {"reference": {"ranks": [], "scores": []}},
        {"reference": {"ranks": [1, 100], "scores": [-0.9, float("nan")]}},
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """A threshold is finite, and reference scores are order statistics that end at n."""
    with pytest.raises(ValidationError):
        a_calibration(**changes)


@pytest.mark.parametrize("changes", [{}, {"schema_version": 1}, {"decision": a_decision(a_part("mos"))}])
def test_mos_decides_unless_something_else_is_said(changes: dict[str, Any]) -> None:
    """Without a decision, and in every bundle of schema 1, the score is MOS as it is."""
    manifest = a_manifest(**changes)
    assert manifest.decided_by == "mos"
    assert manifest.decision_in_force == a_decision(a_part("mos"))
    assert manifest.decision_in_force.score_scale == 1


def test_a_decision_names_its_statistic_and_its_scale() -> None:
    """The name is that of the parts; the scale is what their weights, of either sign, make of unit deviations."""
    manifest = a_manifest(decision=MOS_AND_KNN)
    assert (manifest.decided_by, manifest.decision_in_force) == ("mos+knn", MOS_AND_KNN)
    assert MOS_AND_KNN.score_scale == 1.5
    assert a_decision(a_part("logit", weight=2), a_part("residual", weight=-1)).score_scale == 3


@pytest.mark.parametrize("statistic", ["", "mos", "knn", "knn+mos", "mos+knn+logit", "mos + knn", "mos+knn+"])
def test_a_decision_whose_name_is_not_that_of_its_parts_is_refused(statistic: str) -> None:
    """Whoever reads the name reads what decides."""
    with pytest.raises(ValidationError):
        a_decision(*MOS_AND_KNN.parts, statistic=statistic)


@pytest.mark.parametrize("parts", [(), (a_part("knn"), a_part("knn", weight=2))])
def test_a_decision_has_parts_and_none_twice(parts: tuple[StatisticPart, ...]) -> None:
    """Nothing, or one thing under two weights, is no statistic."""
    with pytest.raises(ValidationError):
        a_decision(*parts)


@pytest.mark.parametrize("changes", [{"weight": 2}, {"weight": -1}, {"mean": 0.1}, {"deviation": 0.5}])
def test_mos_alone_is_not_rescaled(changes: dict[str, float]) -> None:
    """A score called mos equals mos, so that the service can hold the one against the other."""
    with pytest.raises(ValidationError):
        a_decision(a_part("mos", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": 0},
        {"weight": float("inf")},
        {"mean": float("nan")},
        {"deviation": 0},
        {"deviation": -1},
        {"deviation": float("inf")},
        {"name": ""},
        {"name": "mos+knn"},
        {"name": "KNN"},
        {"name": "k nn"},
        {"unknown": 1},
    ],
)
def test_a_part_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """A part counts, by finite numbers and a positive deviation, and its name can be joined to others."""
    with pytest.raises(ValidationError):
        a_part("knn", **changes)


def test_the_known_parts_can_be_parts() -> None:
    """Their names are well-formed; another well-formed name is a part too, for only the graph must know it."""
    for name in (*KNOWN_PARTS, "rmd_2"):
        assert a_part(name).name == name


def test_group_sizes_and_owners_follow_the_manifest() -> None:
    """Groups keep manifest order; each class knows its group."""
    manifest = a_manifest()
    assert manifest.group_sizes == [2, 1]
    assert manifest.group_of_class == [0, 0, 1]


def test_preprocess_hash_is_fixed() -> None:
    """The hash is of canonical JSON: another release must find the same value for the same rules."""
    canonical = (
        '{"alpha":"white","color":"RGB","depth16":"scaled","height":32,"orientation":"exif",'
        '"resample":"bilinear","resize":"squash","rules":1,"width":48}'
    )
    assert InputSpec(height=32, width=48).sha256 == sha256_hex(canonical.encode())


def test_preprocess_hash_tells_sizes_apart() -> None:
    """Height and width are not exchangeable."""
    assert InputSpec(height=32, width=48).sha256 != InputSpec(height=48, width=32).sha256


def test_a_full_scale_of_jpegs_leaves_no_trace() -> None:
    """Neither in the file nor in the hash, so that bundles which never heard of it stay what they are."""
    said = InputSpec(height=32, width=48, jpeg_scale="full")
    assert said.sha256 == InputSpec(height=32, width=48).sha256
    assert "jpeg_scale" not in said.model_dump_json()
    assert "jpeg_scale" not in a_manifest().model_dump_json()


def test_a_reduced_scale_of_jpegs_is_another_preprocessing() -> None:
    """In the file, and in the hash, which a calibration made without it does not have."""
    reduced = InputSpec(height=32, width=48, jpeg_scale="reduced")
    assert InputSpec.model_validate_json(reduced.model_dump_json()) == reduced
    canonical = (
        '{"alpha":"white","color":"RGB","depth16":"scaled","height":32,"jpeg_scale":"reduced","orientation":"exif",'
        '"resample":"bilinear","resize":"squash","rules":1,"width":48}'
    )
    assert reduced.sha256 == sha256_hex(canonical.encode())


def test_operating_points_survive_json() -> None:
    """Thresholds and shares to the last bit."""
    judged = a_judged_calibration()
    assert Calibration.model_validate_json(judged.model_dump_json()) == judged


def test_a_calibration_without_operating_points_stays_valid() -> None:
    """Older files have none."""
    older = a_calibration().model_dump(mode="json", exclude={"operating_points", "strangers"})
    assert Calibration.model_validate(older).operating_points == []


@pytest.mark.parametrize("changes", [{"threshold": -0.87}, {"tpr": 0.94}, {"k": 4}, {"strangers": None}])
def test_operating_points_that_contradict_the_calibration_are_refused(changes: dict[str, Any]) -> None:
    """The chosen one is the threshold in force, and all are judged by the strangers that are named."""
    with pytest.raises(ValidationError, match="operating point"):
        a_judged_calibration(**changes)


def test_thresholds_are_the_groups_own_where_they_have_one() -> None:
    """In the order asked for; every other group has that of all."""
    grouped = a_grouped_calibration()
    assert grouped.thresholds(["animal", "food"]) == [grouped.threshold, -0.25]
    assert a_calibration().thresholds(["animal", "food"]) == [a_calibration().threshold] * 2
    assert Calibration.model_validate_json(grouped.model_dump_json()) == grouped


def test_without_thresholds_of_groups_the_file_has_no_trace_of_them() -> None:
    """Earlier releases know no such field and read the rest."""
    assert "group_thresholds" not in a_calibration().model_dump_json()


@pytest.mark.parametrize(
    "thresholds",
    [
        [{"group": "food", "n": 60}, {"group": "food", "n": 30}],
        [{"group": "food", "n": 60}, {"group": "animal", "n": 41}],
        [{"group": "food", "n": 60, "k": 61}],
        [{"group": "food", "n": 60, "k": 0}],
        [{"group": "", "n": 60}],
        [{"group": "food", "n": 60, "threshold": float("nan")}],
        [{"group": "food", "n": 60, "tpr_interval": (0.9, 1.1)}],
    ],
)
def test_thresholds_of_groups_that_make_no_sense_are_refused(thresholds: list[dict[str, Any]]) -> None:
    """One for each group, of its own scores, which are among all of them."""
    plain = {"threshold": -0.25, "k": 1, "tpr_interval": (0.93, 1)}
    with pytest.raises(ValidationError):
        a_grouped_calibration(group_thresholds=[GroupThreshold(**{**plain, **changes}) for changes in thresholds])
