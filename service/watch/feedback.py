"""What an operator's label becomes: the verdict it is about, as far as that is remembered, and a line for the file."""

from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from service.bundle import Manifest
from service.verdict import Verdict
from service.watch.json_lines import json_line, timestamp

Key = tuple[str, int]  # a request's id, and the picture's place in it


@dataclass(frozen=True, slots=True)
class Feedback:
    """A label, `in`, `out` or a class, for one picture of a request."""

    request_id: str
    index: int
    label: str

    @property
    def key(self) -> Key:
        """What its verdict is remembered by."""
        return self.request_id, self.index

    @property
    def side(self) -> Literal["in", "out"]:
        """A class, too, says that the picture is in-distribution; `in` and `out` are never read as classes."""
        return "out" if self.label == "out" else "in"

    @property
    def names_class(self) -> bool:
        """True where the label is a class."""
        return self.label not in ("in", "out")


class RememberedVerdict(NamedTuple):
    """What is kept of a verdict until its label comes."""

    decision: Literal["in", "out"]
    label: str
    score: float
    manifest: Manifest


class VerdictMemory:
    """The last *max_verdicts* verdicts, and as many labels; of a request's id that comes again, the latest."""

    def __init__(self, max_verdicts: int) -> None:
        self._max_verdicts = max_verdicts
        self._verdicts: OrderedDict[Key, RememberedVerdict] = OrderedDict()
        self._labelled: OrderedDict[Key, None] = OrderedDict()

    def remember(self, request_id: str, index: int, verdict: Verdict, manifest: Manifest) -> None:
        """Keep the verdict on picture *index* of a request, given by the model of *manifest*."""
        key = (request_id, index)
        self._labelled.pop(key, None)  # whatever was labelled under this id was another picture
        self._verdicts[key] = RememberedVerdict(verdict.decision, verdict.label, verdict.score, manifest)
        self._verdicts.move_to_end(key)
        if len(self._verdicts) > self._max_verdicts:
            self._verdicts.popitem(last=False)

    def recall(self, key: Key) -> RememberedVerdict | None:
        """Return the verdict; None where it is too old, or another replica's."""
        return self._verdicts.get(key)

    def is_first_label(self, key: Key) -> bool:
        """Note that there is a label, and say whether it is the first: a correction is not counted as another."""
        is_first = key not in self._labelled
        self._labelled[key] = None
        if len(self._labelled) > self._max_verdicts:
            self._labelled.popitem(last=False)
        return is_first


def decision_on(verdict: RememberedVerdict | None) -> Literal["in", "out", "unknown"]:
    """Return what the service had decided."""
    return "unknown" if verdict is None else verdict.decision


def agreement(feedback: Feedback, verdict: RememberedVerdict | None) -> Literal["yes", "no", "unknown"]:
    """Say whether the class that *feedback* names is the predicted one, whatever the decision was."""
    if verdict is None:
        return "unknown"
    return "yes" if feedback.label == verdict.label else "no"


def feedback_line(feedback: Feedback, verdict: RememberedVerdict | None, seconds: float) -> bytes:
    """Return the line of a label that came at *seconds* of `time.time`; what is not known of its verdict is null."""
    manifest = None if verdict is None else verdict.manifest
    members: dict[str, Any] = {
        "kind": "feedback",
        "time": timestamp(seconds),
        **asdict(feedback),
        "decision": decision_on(verdict),
        "model": None if manifest is None else manifest.name,
        "version": None if manifest is None else manifest.version,
        "model_sha256": None if manifest is None else manifest.model_sha256,
        "score": None if verdict is None else verdict.score,
        "predicted": None if verdict is None else verdict.label,
    }
    return json_line(members)
