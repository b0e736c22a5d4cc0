"""Labels that operators gave to served pictures: the service's feedback lines, each with the score of its verdict.

A score is the model's, whatever threshold was in force, so lines of several thresholds go together and those of another
model never do. A feedback line tells its picture's score where the service still knew it; else the verdict line of the
same request and place does. What cannot be used is counted by its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from service.bundle import Manifest
from training.errors import DataError

OTHER_LINES = "lines that are torn, damaged or of another kind"
EARLIER = "labels that a later one of the same picture replaces"
UNKNOWN_CLASS = "labels of a class that the model does not know"
NO_VERDICT = "labels without a score and without a verdict line"
SEVERAL_VERDICTS = "labels of a request id that has several verdict lines"
OTHER_MODEL = "labels of pictures that another model or version judged"

Key = tuple[str, int]  # a request's id, and the picture's place in it


class _Line(BaseModel, frozen=True):
    request_id: str
    index: int | None = None

    @property
    def key(self) -> Key:
        return self.request_id, self.index or 0


class VerdictLine(_Line, frozen=True):
    """What the service decided on a picture; `sampled` is the share of verdicts that are written."""

    kind: Literal["verdict"]
    model: str
    version: str
    model_sha256: str
    label: str
    decision: Literal["in", "out"]
    score: FiniteFloat
    sampled: Annotated[float, Field(gt=0, le=1)] = 1.0


class FeedbackLine(_Line, frozen=True):
    """What an operator said of a picture, and what the service still knew of its verdict."""

    kind: Literal["feedback"]
    label: str  # in, out or a class
    decision: Literal["in", "out", "unknown"] = "unknown"
    model: str | None = None
    version: str | None = None
    model_sha256: str | None = None
    score: FiniteFloat | None = None
    predicted: str | None = None


class Label(NamedTuple):
    """A served picture that somebody labelled."""

    is_in: bool
    score: float
    decision: Literal["in", "out"]  # what the service had decided
    group: int | None  # place of the predicted group in the manifest, where it is known


class Served(NamedTuple):
    """How many pictures of each decision the model judged, as verdict lines tell, of which only a share is written."""

    accepted: float
    rejected: float
    lines: float  # as many lines of one share as would tell it as well


@dataclass
class Labels:
    """The labels that can be used, why others cannot, and what was served; None without verdict lines."""

    usable: list[Label] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    served: Served | None = None


_ANY_LINE: TypeAdapter[VerdictLine | FeedbackLine] = TypeAdapter(
    Annotated[VerdictLine | FeedbackLine, Field(discriminator="kind")]
)


def read_labels(files: Iterable[Path], manifest: Manifest) -> Labels:
    """The labels in files of JSON lines, verdict and feedback lines in any order. Raises DataError for a missing file.

    Of several labels of one picture the last counts. Lines that are there twice, as in copies of rotated files, count
    once.
    """
    labels = Labels()
    verdicts: dict[Key, set[VerdictLine]] = {}
    feedback: dict[Key, FeedbackLine] = {}
    for line in _lines(files, labels.ignored):
        if isinstance(line, VerdictLine):
            verdicts.setdefault(line.key, set()).add(line)
        else:
            earlier = feedback.get(line.key)
            labels.ignored[EARLIER] += earlier is not None and earlier != line
            feedback[line.key] = line
    labels.served = _served(verdict for same in verdicts.values() for verdict in same if _is_of(verdict, manifest))
    for line in feedback.values():
        found = _label(line, verdicts.get(line.key, set()), manifest)
        if isinstance(found, Label):
            labels.usable.append(found)
        else:
            labels.ignored[found] += 1
    return labels


def _lines(files: Iterable[Path], ignored: Counter[str]) -> Iterator[VerdictLine | FeedbackLine]:
    for file in files:
        try:
            with file.open("rb") as lines:
                for line in lines:
                    try:
                        yield _ANY_LINE.validate_json(line)
                    except ValidationError:
                        ignored[OTHER_LINES] += bool(line.strip())
        except OSError as error:
            why = error.strerror or error
            raise DataError(f"{file} cannot be read ({why}); name a file of the service's JSON lines.") from error


def _label(line: FeedbackLine, verdicts: set[VerdictLine], manifest: Manifest) -> Label | str:
    """The label with its score, or the reason why there is none."""
    if line.label not in ("in", "out", *manifest.classes):
        return UNKNOWN_CLASS
    is_in = line.label != "out"
    if line.score is not None and line.decision != "unknown":
        if not _is_of(line, manifest):
            return OTHER_MODEL
        return Label(is_in, line.score, line.decision, _group(line.predicted, manifest))
    if len(verdicts) != 1:
        return SEVERAL_VERDICTS if verdicts else NO_VERDICT
    (verdict,) = verdicts
    if not _is_of(verdict, manifest):
        return OTHER_MODEL
    return Label(is_in, verdict.score, verdict.decision, _group(verdict.label, manifest))


def _served(verdicts: Iterable[VerdictLine]) -> Served | None:
    stands_for: dict[str, list[float]] = {"in": [], "out": []}
    for verdict in verdicts:
        stands_for[verdict.decision].append(1 / verdict.sampled)
    accepted, rejected = sum(stands_for["in"]), sum(stands_for["out"])
    squares = sum(weight**2 for weights in stands_for.values() for weight in weights)
    # Kish's effective sample size; of lines of one share it is their number.
    return Served(accepted, rejected, (accepted + rejected) ** 2 / squares) if squares else None


def _is_of(line: VerdictLine | FeedbackLine, manifest: Manifest) -> bool:
    if line.model_sha256 is not None:
        return line.model_sha256 == manifest.model_sha256
    return (line.model, line.version) == (manifest.name, manifest.version)


def _group(label: str | None, manifest: Manifest) -> int | None:
    return manifest.group_of_class[manifest.classes.index(label)] if label in manifest.classes else None
