"""The parts of a small bundle, each of which fits the others unless it is changed."""

from datetime import UTC, datetime
from typing import Any

from service.bundle import (
    Calibration,
    Canary,
    Decision,
    Group,
    GroupThreshold,
    InputSpec,
    LetIn,
    LetInByScale,
    Manifest,
    OperatingPoint,
    ReferenceScores,
    StatisticPart,
    Strangers,
    StrangerSet,
    sha256_hex,
)

MODEL = b"not really a model, but it has a hash"
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "schema_version": 2,
        "name": "pets",
        "version": "3",
        "created": CREATED,
        "model_sha256": sha256_hex(MODEL),
        "input": InputSpec(height=32, width=48),
        "classes": ["cat", "dog", "apple"],
        "groups": [Group(name="animal", classes=[1, 0]), Group(name="food", classes=[2])],
        "backbone": "R50x1",
        "precision": "float32",
        "training": {"seed": 7, "command": ["train"]},
        "metrics": {"accuracy": 0.5},
    }
    return Manifest(**{**fields, **changes})


def a_part(name: str, /, **changes: Any) -> StatisticPart:
    return StatisticPart(**{"name": name, "weight": 1, "mean": 0, "deviation": 1, **changes})


def a_decision(*parts: StatisticPart, **changes: Any) -> Decision:
    fields: dict[str, Any] = {"statistic": "+".join(part.name for part in parts), "parts": list(parts)}
    return Decision(**{**fields, **changes})


def a_calibration(**changes: Any) -> Calibration:
    fields: dict[str, Any] = {
        "threshold": -0.8717948794364929,
        "tpr": 0.95,
        "confidence": 0.99,
        "method": "clopper-pearson",
        "n": 100,
        "k": 3,
        "tpr_interval": (0.9, 0.99),
        "model_sha256": sha256_hex(MODEL),
        "preprocess_sha256": InputSpec(height=32, width=48).sha256,
        "created": CREATED,
        "data": {"sha256": "0" * 64},
        "reference": ReferenceScores(ranks=[1, 50, 100], scores=[-0.9, -0.5, -0.5]),
    }
    return Calibration(**{**fields, **changes})


def a_judged_calibration(**changes: Any) -> Calibration:
    """One with operating points, judged by a set of strangers."""
    let = LetInByScale(
        scaled=LetIn(share=1 / 3, n=30, interval=(0.17, 0.53)), as_is=LetIn(share=0.1, n=30, interval=(0.02, 0.27))
    )
    point = OperatingPoint(
        tpr=0.95, threshold=-0.8717948794364929, k=3, accuracy_on_accepted=0.7, strangers={"textures": let}
    )
    told = Strangers(short_side_pixels=160, sets={"textures": StrangerSet(data={"n": 30}, scaled_down=30, smaller=0)})
    lower = point.model_copy(update={"tpr": 0.9, "threshold": -0.5, "k": 7})
    return a_calibration(**{"operating_points": [point, lower], "strangers": told, **changes})


def a_grouped_calibration(**changes: Any) -> Calibration:
    """One where a group has a threshold of its own."""
    of_group = GroupThreshold(group="food", threshold=-0.25, n=60, k=1, tpr_interval=(0.93, 1))
    return a_calibration(**{"group_thresholds": [of_group], **changes})


CANARIES = (
    Canary(name="a.png", encoded=b"\x89PNG", class_index=0, score=-0.1, others_scores=(0.1, 0.9)),
    Canary(name="b.jpg", encoded=b"\xff\xd8\xff", class_index=2, score=-0.9, others_scores=(0.95, 0.9)),
)
