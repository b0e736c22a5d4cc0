"""What the files of a bundle are called and what they hold; each model refuses what contradicts itself."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypedDict

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StringConstraints,
    field_validator,
    model_validator,
)

SCHEMA_VERSION: Literal[2] = 2
# Up to 1 the graph had no output `mos` and MOS always decided, as `score`.
READABLE_SCHEMA_VERSIONS = (1, SCHEMA_VERSION)

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "bundle.json"
CALIBRATION_FILE = "calibration.json"
DETECTORS_FILE = "detectors.npz"
FITTED_FILE = "fitted.npz"
CARD_FILE = "card.md"
CARD_PICTURE_FILE = "card.png"
CANARY_FOLDER = "canary"
EXPECTED_FILE = "expected.json"
# What serving depends on, beside the canaries: when none of it has changed, the bundle is the one that was read.
WATCHED_FILES = (MODEL_FILE, MANIFEST_FILE, CALIBRATION_FILE)

MOS = "mos"
# What can decide, alone or several as one: a statistic is called by its parts, joined by `+`. Each is higher for
# in-distribution pictures.
KNOWN_PARTS = {
    MOS: "the Minimum Others Score",
    "logit": "the largest class logit, before any softmax",
    "knn": "nearness to the closest pictures of a bank of training features",
    "mahalanobis": "nearness to the closest class mean, by the features' covariance",
    "cosine": "the largest cosine with a class mean, both less the mean of all features",
    "residual": "how little of the features lies outside the space that the training features span",
}

Name = Annotated[str, StringConstraints(min_length=1)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# A plain file name: nothing that leads out of the folder or hides in it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
PartName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=50)]
Fraction = Annotated[FiniteFloat, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Frozen):
    """What an image becomes before the graph sees it; every field can change a score."""

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    resample: Literal["bilinear"] = "bilinear"
    resize: Literal["squash"] = "squash"
    orientation: Literal["exif"] = "exif"
    alpha: Literal["white"] = "white"
    depth16: Literal["scaled"] = "scaled"
    color: Literal["RGB"] = "RGB"
    rules: Literal[1] = 1  # version of the rules in preprocess.py
    # Left out of the file and of the hash where it is `full`, as every bundle was that does not name it.
    jpeg_scale: Annotated[Literal["full", "reduced"], Field(exclude_if=lambda scale: scale == "full")] = "full"

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON: a calibration's `preprocess_sha256`."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return sha256_hex(canonical.encode())


class Group(_Frozen):
    """A group of the group softmax: its classes as indices into `Manifest.classes`."""

    name: Name
    classes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class StatisticPart(_Frozen):
    """One part of the statistic that decides: its value counts as `weight * (value - mean) / deviation`.

    The graph computes all of that; here it is said. *parameters* hold what the value depends on, such as the size of a
    bank and k. A name outside `KNOWN_PARTS` is allowed, for only the graph must know what it means.
    """

    name: PartName
    weight: FiniteFloat
    mean: FiniteFloat
    deviation: Annotated[FiniteFloat, Field(gt=0)]
    parameters: dict[str, JsonValue] = {}

    @field_validator("weight")
    @classmethod
    def _counts(cls, weight: float) -> float:
        if weight == 0:
            raise ValueError("a part of weight 0 decides nothing; leave it out")
        return weight


class Decision(_Frozen):
    """What decides: the statistic that the graph puts out as `score`, the sum of its parts.

    Means and deviations are those of held-out in-distribution pictures, so that the parts can be added; *parameters*
    hold what all parts share, such as how many pictures those were. MOS alone decides as it is.
    """

    statistic: Name
    parts: Annotated[list[StatisticPart], Field(min_length=1)]
    parameters: dict[str, JsonValue] = {}

    @property
    def score_scale(self) -> float:
        """The sum of the weights' sizes: the score's standard deviation on the pictures above is at most this."""
        return sum(abs(part.weight) for part in self.parts)

    @model_validator(mode="after")
    def _is_called_by_its_parts(self) -> Self:
        names = [part.name for part in self.parts]
        if self.statistic != "+".join(names) or len(set(names)) != len(names):
            raise ValueError("the statistic must be the names of its parts, each once, in their order, joined by +")
        only = self.parts[0]
        if self.statistic == MOS and (only.weight, only.mean, only.deviation) != (1, 0, 1):
            raise ValueError(f"{MOS} alone decides as it is: weight 1, mean 0, deviation 1")
        return self


MOS_DECIDES = Decision(statistic=MOS, parts=[StatisticPart(name=MOS, weight=1, mean=0, deviation=1)])


class Manifest(_Frozen):
    """What the model is: bundle.json."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    name: Name
    version: Name
    created: AwareDatetime
    model_sha256: Sha256
    input: InputSpec
    classes: Annotated[list[Name], Field(min_length=1)]
    groups: Annotated[list[Group], Field(min_length=1)]
    backbone: str
    precision: str
    # Left out of the file where there is none, so that a bundle of schema 1 stays one that its release can read.
    decision: Annotated[Decision | None, Field(exclude_if=lambda decision: decision is None)] = None
    training: dict[str, JsonValue] = {}
    metrics: dict[str, JsonValue] = {}

    @property
    def decision_in_force(self) -> Decision:
        """What decides: `decision`, or MOS where there is none."""
        return self.decision or MOS_DECIDES

    @property
    def decided_by(self) -> str:
        """The name of the statistic that decides."""
        return self.decision_in_force.statistic

    @property
    def group_sizes(self) -> list[int]:
        """Number of classes in each group, (K,), *others* not counted."""
        return [len(group.classes) for group in self.groups]

    @property
    def group_of_class(self) -> list[int]:
        """Index of the group that each class is in, (C,)."""
        owner = {index: k for k, group in enumerate(self.groups) for index in group.classes}
        return [owner[index] for index in range(len(self.classes))]

    @model_validator(mode="after")
    def _groups_partition_the_classes(self) -> Self:
        if sorted(index for group in self.groups for index in group.classes) != list(range(len(self.classes))):
            raise ValueError("the groups must hold every class exactly once")
        for names in (self.classes, [group.name for group in self.groups]):
            if len(set(names)) != len(names):
                raise ValueError("class names and group names must each be unique")
        return self

    @model_validator(mode="after")
    def _schema_1_knows_mos_alone(self) -> Self:
        if self.schema_version == 1 and self.decided_by != MOS:
            raise ValueError(f"in a bundle of schema 1 {MOS} decides; write one of schema {SCHEMA_VERSION}")
        return self


class ReferenceScores(_Frozen):
    """Order statistics of the calibration scores: `scores[i]` has the 1-based rank `ranks[i]`."""

    ranks: Annotated[list[int], Field(min_length=1)]
    scores: list[FiniteFloat]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if len(self.ranks) != len(self.scores):
            raise ValueError("there must be one score for each rank")
        if self.ranks[0] != 1 or any(a >= b for a, b in zip(self.ranks, self.ranks[1:], strict=False)):
            raise ValueError("ranks must ascend from 1")
        if self.scores != sorted(self.scores):
            raise ValueError("scores must ascend")
        return self


class LetIn(_Frozen):
    """The share of *n* foreign pictures that a threshold lets in, with its exact interval at the confidence given."""

    share: Fraction
    n: Annotated[int, Field(ge=1)]
    interval: tuple[Fraction, Fraction]


class LetInByScale(_Frozen):
    """Foreign pictures judged twice: at the size of one's own pictures, and as they are."""

    scaled: LetIn
    as_is: LetIn


class OperatingPoint(_Frozen):
    """A threshold that could be chosen: what it promises, and what it lets in."""

    tpr: Fraction
    threshold: FiniteFloat
    k: Annotated[int, Field(ge=1)]
    accuracy_on_accepted: Fraction | None = None  # None where the calibration pictures have no labels
    strangers: dict[Name, LetInByScale] = {}


class StrangerSet(_Frozen):
    """A set of foreign pictures: its fingerprint, and how many are larger or smaller than one's own."""

    data: dict[str, JsonValue]
    scaled_down: Annotated[int, Field(ge=0)]
    smaller: Annotated[int, Field(ge=0)]  # none is enlarged


class Strangers(_Frozen):
    """What the operating points were judged with; `scaled` is to the median short side of the calibration pictures."""

    short_side_pixels: Annotated[int, Field(ge=1)]
    sets: Annotated[dict[Name, StrangerSet], Field(min_length=1)]


class GroupThreshold(_Frozen):
    """The threshold of pictures whose predicted class is in *group*: rank *k* of the *n* such calibration scores."""

    group: Name
    threshold: FiniteFloat
    n: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=1)]
    tpr_interval: tuple[Fraction, Fraction]  # of pictures of this group

    @model_validator(mode="after")
    def _is_one_of_its_scores(self) -> Self:
        if self.k > self.n:
            raise ValueError("a group's k must not exceed its n")
        return self


class Calibration(_Frozen):
    """The threshold, its guarantee and what it was made from: calibration.json.

    *threshold* holds for every group that *group_thresholds* does not name. *tpr_interval* is of the share of all
    in-distribution pictures that are accepted, by whichever threshold is theirs.
    """

    threshold: FiniteFloat
    tpr: Fraction
    confidence: Fraction
    # certified, conformal or quantile; a sentence in files of earlier releases.
    method: Name
    n: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=0)]
    tpr_interval: tuple[Fraction, Fraction]
    model_sha256: Sha256
    preprocess_sha256: Sha256
    created: AwareDatetime
    data: dict[str, JsonValue] = {}
    reference: ReferenceScores
    operating_points: list[OperatingPoint] = []
    strangers: Strangers | None = None
    # Left out of the file where there are none, so that earlier releases read a calibration that they can serve.
    group_thresholds: Annotated[list[GroupThreshold], Field(exclude_if=lambda groups: not groups)] = []

    def thresholds(self, groups: Sequence[str]) -> list[float]:
        """Return the threshold of each of *groups* (K,), the names of predicted groups."""
        own = {entry.group: entry.threshold for entry in self.group_thresholds}
        return [own.get(group, self.threshold) for group in groups]

    @model_validator(mode="after")
    def _groups_share_the_scores(self) -> Self:
        names = [entry.group for entry in self.group_thresholds]
        if len(set(names)) != len(names):
            raise ValueError("each group may have one threshold")
        if sum(entry.n for entry in self.group_thresholds) > self.n:
            raise ValueError("the groups must not hold more calibration scores than there are")
        return self

    @model_validator(mode="after")
    def _reference_ends_at_n(self) -> Self:
        if self.reference.ranks[-1] != self.n:
            raise ValueError("the last reference rank must be n")
        return self

    @model_validator(mode="after")
    def _the_chosen_point_is_the_threshold(self) -> Self:
        chosen = [(point.threshold, point.k) for point in self.operating_points if point.tpr == self.tpr]
        if self.operating_points and chosen != [(self.threshold, self.k)]:
            raise ValueError("one operating point must have the calibration's TPR, threshold and k")
        return self

    @model_validator(mode="after")
    def _points_know_the_same_strangers(self) -> Self:
        names = set(self.strangers.sets) if self.strangers else set()
        if any(set(point.strangers) != names for point in self.operating_points):
            raise ValueError("every operating point must judge the strangers that are named")
        return self


class Judging(TypedDict):
    """What `service.verdict.Judge` is built from, as plain data."""

    classes: list[str]  # (C,)
    group_names: list[str]  # (K,)
    group_of_class: list[int]  # (C,)
    decided_by: str
    thresholds: list[float]  # (K,)
    ranks: list[int]  # (m,)
    reference_scores: list[float]  # (m,)


def judging_of(manifest: Manifest, calibration: Calibration) -> Judging:
    """Return what judges by *calibration*, which must be of the bundle of *manifest*."""
    groups = [group.name for group in manifest.groups]
    return Judging(
        classes=manifest.classes,
        group_names=groups,
        group_of_class=manifest.group_of_class,
        decided_by=manifest.decided_by,
        thresholds=calibration.thresholds(groups),
        ranks=calibration.reference.ranks,
        reference_scores=calibration.reference.scores,
    )


class ExpectedOutputs(_Frozen):
    """The outputs expected of one canary file, as expected.json holds them."""

    name: FileName
    class_index: Annotated[int, Field(ge=0)]
    score: FiniteFloat
    others_scores: tuple[FiniteFloat, ...]  # (K,)

    @field_validator("name")
    @classmethod
    def _leaves_the_expectations_alone(cls, name: str) -> str:
        if name == EXPECTED_FILE:
            raise ValueError(f"{EXPECTED_FILE} is taken")
        return name


class Canary(ExpectedOutputs):
    """An encoded image and the outputs expected of it."""

    encoded: bytes


class ExpectedFile(_Frozen):
    """The canaries of a bundle, without their images: expected.json."""

    canaries: list[ExpectedOutputs]


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of *data* in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()
