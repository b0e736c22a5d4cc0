"""A model holds only what makes sense, and says what follows from it."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from service.bundle import Calibration, Group, InputSpec, sha256_hex
from tests.service.bundle.parts import a_calibration, a_judged_calibration, a_manifest


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
        {"schema_version": 2},
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
