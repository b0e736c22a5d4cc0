"""The shapes of requests and answers, for the OpenAPI pages; a test holds the real answers against them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.bundle import (
    KNOWN_PARTS,
    Decision,
    Group,
    GroupThreshold,
    InputSpec,
    OperatingPoint,
    ReferenceScores,
    Strangers,
)
from service.inference.engine import Provider

Probability = Annotated[float, Field(ge=0, le=1)]

_PARTS = "; ".join(f"`{name}`: {meaning}" for name, meaning in KNOWN_PARTS.items())

VERDICT_EXAMPLE: dict[str, Any] = {
    "label": "apple",
    "class_index": 0,
    "probability": 0.93,
    "group": "fruit and vegetables",
    "decision": "in",
    "decided_by": "mos",
    "mos": -0.012,
    "score": -0.012,
    "threshold": -0.871,
    "p_value": 0.64,
    "others_scores": {"fruit and vegetables": 0.012, "people": 0.9998},
    "top": [{"label": "apple", "probability": 0.93}, {"label": "pear", "probability": 0.04}],
    "model": "cifar100-bit",
    "version": "1",
    "request_id": "5f0c8d5a4c0b4a6f9a1de3c2b7f80e11",
}
LABEL_EXAMPLE: dict[str, Any] = {"request_id": "5f0c8d5a4c0b4a6f9a1de3c2b7f80e11", "label": "out"}
LABELLED_EXAMPLE: dict[str, Any] = {**LABEL_EXAMPLE, "index": 0, "decision": "in"}
PROBLEM_EXAMPLE: dict[str, Any] = {
    "type": "urn:mos-guard:problem:corrupt_image",
    "title": "Corrupt image",
    "status": 400,
    "detail": "The image is truncated or damaged; save it again and send it whole.",
    "code": "corrupt_image",
    "request_id": "5f0c8d5a4c0b4a6f9a1de3c2b7f80e11",
}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Ranked(_Answer):
    """One of the most probable classes."""

    label: str
    probability: Probability


class Verdict(_Answer):
    """The answer for one image: its class, and whether it is in-distribution at all."""

    model_config = ConfigDict(json_schema_extra={"examples": [VERDICT_EXAMPLE]})

    label: str
    class_index: Annotated[int, Field(ge=0, description="Index into the classes of /model.")]
    probability: Annotated[Probability, Field(description="Group softmax, *others* in the denominator.")]
    group: Annotated[str, Field(description="The group that the class is in.")]
    decision: Annotated[Literal["in", "out"], Field(description="`in` iff score >= threshold.")]
    decided_by: Annotated[str, Field(description=f"The statistic that `score` is, its parts joined by `+`. {_PARTS}.")]
    mos: Annotated[float, Field(ge=-1, le=0, description="-min(others_scores), whatever decides.")]
    score: Annotated[float, Field(description="The statistic that decides; higher is in-distribution.")]
    threshold: Annotated[float, Field(description="That of the predicted group, where it has one of its own.")]
    p_value: Annotated[Probability, Field(description="Conformal, against the calibration scores.")]
    others_scores: Annotated[dict[str, Probability], Field(description="p(others) of each group.")]
    top: Annotated[list[Ranked], Field(description="The most probable classes, best first, at most five.")]
    model: str
    version: str
    request_id: str


class Problem(_Answer):
    """RFC 9457 problem details; `code` is stable, texts may change."""

    model_config = ConfigDict(json_schema_extra={"examples": [PROBLEM_EXAMPLE]})

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    request_id: str


class Label(BaseModel):
    """What an operator says about one picture."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [LABEL_EXAMPLE]})

    request_id: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9._~:/+=-]{1,128}$", description="`request_id` of the verdict's answer."),
    ]
    label: Annotated[
        str,
        Field(
            description="`in`, `out`, or the class that the picture shows, which also says `in`. A class that is "
            "itself called `in` or `out` cannot be named here: the two words always are the sides."
        ),
    ]
    index: Annotated[int, Field(ge=0, lt=2**31, description="The picture's place in a /predict/batch.")] = 0


class Labelled(_Answer):
    """A label that is written, and what the service had decided; `request_id` is the labelled one."""

    model_config = ConfigDict(json_schema_extra={"examples": [LABELLED_EXAMPLE]})

    request_id: str
    index: Annotated[int, Field(ge=0)]
    label: str
    decision: Annotated[
        Literal["in", "out", "unknown"],
        Field(description="`unknown` where the verdict is too old to be remembered, or another replica's."),
    ]


class Status(_Answer):
    """A probe's answer where all is well."""

    status: Literal["live", "ready"]


class Guarantee(_Answer):
    """What the threshold promises and what it was made from; shares are fractions."""

    tpr: Probability
    confidence: Probability
    tpr_interval: tuple[Probability, Probability]
    method: Annotated[str, Field(description="certified, conformal or quantile.")]
    n: Annotated[int, Field(description="Calibration images.")]
    k: Annotated[int, Field(description="Rank of the threshold among their scores.")]
    created: datetime
    model_sha256: str
    preprocess_sha256: str
    data: dict[str, JsonValue]
    operating_points: Annotated[
        list[OperatingPoint],
        Field(description="Thresholds that could be chosen, and the share of foreign pictures that each lets in."),
    ]
    strangers: Annotated[Strangers | None, Field(description="The foreign pictures of the operating points.")]
    group_thresholds: Annotated[
        list[GroupThreshold],
        Field(description="Thresholds of predicted groups that have their own; `threshold` is every other group's."),
    ] = []
    reference: Annotated[
        ReferenceScores,
        Field(description="Calibration scores by their 1-based ranks, at most 101 of the n, for drawing."),
    ]


class DriftTest(_Answer):
    """Where one drift test stands."""

    statistic: float
    limit: Annotated[float, Field(description="Where the alarm is raised; it is taken back at half of this.")]
    alarm: bool


class DriftTests(_Answer):
    """Whether images still are like those of the calibration: by this process, since it took the bundle into service.

    An alarm says that the guarantee does not hold for what comes in; that none stands is no proof that it holds.
    """

    images: Annotated[int, Field(ge=0, description="Verdicts seen so far.")]
    expected_reject_share: Annotated[Probability, Field(description="Share of `out` that is no drift, at most.")]
    sought_reject_share: Annotated[Probability, Field(description="Share of `out` that the test is quickest to find.")]
    tests: Annotated[
        dict[str, DriftTest],
        Field(description="`rejects`: a CUSUM on decisions; `p_values`: a sequential test of all scores."),
    ]


class ModelCard(_Answer):
    """What is served: classes, groups, input, what decides, the threshold with its guarantee, the provider in use."""

    name: str
    version: str
    created: datetime
    backbone: str
    precision: str
    provider: Annotated[Provider, Field(description="The one really in use.")]
    input: InputSpec
    classes: list[str]
    groups: Annotated[list[Group], Field(description="Each group's classes, as indices into `classes`.")]
    decision: Annotated[
        Decision,
        Field(description="What decides: score is the sum of weight * (value - mean) / deviation over the parts."),
    ]
    threshold: Annotated[float | None, Field(description="null until the bundle is calibrated.")]
    guarantee: Guarantee | None
    drift: Annotated[DriftTests | None, Field(description="null until the bundle is calibrated.")]
    model_sha256: str
    preprocess_sha256: str
    training: dict[str, JsonValue]
    metrics: dict[str, JsonValue]
