"""Labels that operators gave to served pictures: the service's feedback lines, each with the score of its verdict line.

Only what the bundle's thresholds judged counts: `in` and `out` mean other ranges of scores under another threshold, and
scores of another model mean nothing here. A label counts where its picture's verdict line is at hand, so that the
pictures of those lines are what the labels are a sample of, whatever was not logged, was dropped or has rotated away.
A picture that was served again, a still one, counts once: it is known by its predicted class and score, which are
hardly ever the same of two pictures. What cannot be used is counted by its reason. The order of lines does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from service.bundle import Manifest
from training.errors import DataError

OTHER_LINES = "lines that are torn, damaged or of another kind"
EARLIER = "labels that a later one of the same picture replaces"
AGAIN = "labels of pictures that came and were labelled again, by predicted class and score"
UNKNOWN_CLASS = "labels of a class that the model does not know"
NO_VERDICT = "labels without a verdict line"
SEVERAL_VERDICTS = "labels of a request id that has several verdict lines"
OTHER_MODEL = "labels of pictures that another model or version judged"
OTHER_THRESHOLD = "labels of pictures that another threshold than the bundle's judged"

Key = tuple[str, int]  # a request's id, and the picture's place in it
Picture = tuple[str, float]  # its predicted class and its score


class _Line(BaseModel, frozen=True):
    request_id: str
    index: int | None = None

    @property
    def key(self) -> Key:
        return self.request_id, self.index or 0


class VerdictLine(_Line, frozen=True):
    """What the service decided on a picture."""

    kind: Literal["verdict"]
    model: str
    version: str
    model_sha256: str | None = None
    threshold: FiniteFloat
    label: str
    group: str
    decision: Literal["in", "out"]
    score: FiniteFloat

    @property
    def picture(self) -> Picture:
        """What is the same of a picture that is served again."""
        return self.label, self.score


class FeedbackLine(_Line, frozen=True):
    """What an operator said of a picture, and its score where the service still knew it."""

    kind: Literal["feedback"]
    time: AwareDatetime
    label: str  # in, out or a class
    score: FiniteFloat | None = None


class Label(NamedTuple):
    """A served picture that somebody labelled."""

    key: Key
    is_in: bool
    score: float
    decision: Literal["in", "out"]  # what the service had decided
    group: int  # place of the predicted group in the manifest


@dataclass(frozen=True)
class Labels:
    """The labels that can be used, why others cannot, and the number of pictures of each decision that were logged."""

    usable: list[Label]
    ignored: Counter[str]
    logged: Counter[str]


_ANY_LINE: TypeAdapter[VerdictLine | FeedbackLine] = TypeAdapter(
    Annotated[VerdictLine | FeedbackLine, Field(discriminator="kind")]
)


def read_labels(files: Iterable[Path], manifest: Manifest, thresholds: Sequence[float]) -> Labels:
    """The labels in files of JSON lines, verdict and feedback lines in any order, under `thresholds` (K,) of groups.

    Of several labels of one picture the latest counts. Lines that are there twice, as in copies of rotated files, count
    once. Raises DataError for a missing file.
    """
    ignored: Counter[str] = Counter()
    verdicts: dict[Key, set[VerdictLine]] = {}
    feedback: set[FeedbackLine] = set()
    for line in _lines(files, ignored):
        if isinstance(line, VerdictLine):
            verdicts.setdefault(line.key, set()).add(line)
        else:
            feedback.add(line)
    in_force = {group.name: threshold for group, threshold in zip(manifest.groups, thresholds, strict=True)}
    judged = {key: _the_verdict(same, manifest, in_force) for key, same in verdicts.items()}
    pictures = {found.picture: found.decision for found in judged.values() if isinstance(found, VerdictLine)}
    labels = _labels(_latest(feedback, ignored), judged, manifest, ignored)
    return Labels(list(labels.values()), ignored, Counter(pictures.values()))


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


def _the_verdict(verdicts: set[VerdictLine], manifest: Manifest, in_force: Mapping[str, float]) -> VerdictLine | str:
    """The verdict of one place in a request, or the reason why it cannot be used."""
    if len(verdicts) > 1:
        return SEVERAL_VERDICTS
    (verdict,) = verdicts
    if not _is_of(verdict, manifest):
        return OTHER_MODEL
    return verdict if verdict.threshold == in_force.get(verdict.group) else OTHER_THRESHOLD


def _latest(feedback: Iterable[FeedbackLine], ignored: Counter[str]) -> list[FeedbackLine]:
    """The latest line of each key, in the order of time; at one moment, in an order that no file decides."""
    latest: dict[Key, FeedbackLine] = {}
    for line in sorted(feedback, key=lambda line: (line.time, line.label, line.key)):
        ignored[EARLIER] += latest.pop(line.key, None) is not None
        latest[line.key] = line
    return list(latest.values())


def _labels(
    feedback: Iterable[FeedbackLine],
    judged: Mapping[Key, VerdictLine | str],
    manifest: Manifest,
    ignored: Counter[str],
) -> dict[Picture, Label]:
    """The label of each picture: its latest, as `feedback` comes in the order of time."""
    labels: dict[Picture, Label] = {}
    for line in feedback:
        verdict = _labelled_verdict(line, judged, manifest)
        if isinstance(verdict, str):
            ignored[verdict] += 1
            continue
        ignored[AGAIN] += verdict.picture in labels
        group = [group.name for group in manifest.groups].index(verdict.group)
        labels[verdict.picture] = Label(line.key, line.label != "out", verdict.score, verdict.decision, group)
    return labels


def _labelled_verdict(
    line: FeedbackLine, judged: Mapping[Key, VerdictLine | str], manifest: Manifest
) -> VerdictLine | str:
    if line.label not in ("in", "out", *manifest.classes):
        return UNKNOWN_CLASS
    verdict = judged.get(line.key, NO_VERDICT)
    if isinstance(verdict, VerdictLine) and line.score not in (None, verdict.score):
        return NO_VERDICT  # the id came again, and the line of the picture that was labelled is not here
    return verdict


def _is_of(verdict: VerdictLine, manifest: Manifest) -> bool:
    if verdict.model_sha256 is not None:
        return verdict.model_sha256 == manifest.model_sha256
    return (verdict.model, verdict.version) == (manifest.name, manifest.version)
