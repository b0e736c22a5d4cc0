"""What the files of a bundle are called and what they hold; each model refuses what contradicts itself."""

import hashlib
import json
from typing import Annotated, Literal, Self

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

SCHEMA_VERSION: Literal[1] = 1

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "bundle.json"
CALIBRATION_FILE = "calibration.json"
DETECTORS_FILE = "detectors.npz"
CARD_FILE = "card.md"
CARD_PICTURE_FILE = "card.png"
CANARY_FOLDER = "canary"
EXPECTED_FILE = "expected.json"

Name = Annotated[str, StringConstraints(min_length=1)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# A plain file name: nothing that leads out of the folder or hides in it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
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

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON: a calibration's `preprocess_sha256`."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return sha256_hex(canonical.encode())


class Group(_Frozen):
    """A group of the group softmax: its classes as indices into `Manifest.classes`."""

    name: Name
    classes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Manifest(_Frozen):
    """What the model is: bundle.json."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Name
    version: Name
    created: AwareDatetime
    model_sha256: Sha256
    input: InputSpec
    classes: Annotated[list[Name], Field(min_length=1)]
    groups: Annotated[list[Group], Field(min_length=1)]
    backbone: str
    precision: str
    training: dict[str, JsonValue] = {}
    metrics: dict[str, JsonValue] = {}

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


class Calibration(_Frozen):
    """The threshold, its guarantee and what it was made from: calibration.json."""

    threshold: FiniteFloat
    tpr: Fraction
    confidence: Fraction
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
