"""What the client returns and raises.

    MosGuardError
    └── ClientError
        ├── Refused           the service answered with a problem: `code` is stable
        └── Unreachable       there was no answer, or none that the service gives

Fields that a later service adds are left aside; one that is missing is an error, never a guess.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

from service.errors import MosGuardError


@dataclass(frozen=True, slots=True)
class Ranked:
    """One of the most probable classes."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one picture; `index` is its place in its request."""

    label: str
    class_index: int
    probability: float
    group: str
    decision: Literal["in", "out"]
    decided_by: str
    mos: float
    score: float
    threshold: float
    p_value: float
    others_scores: Mapping[str, float]
    top: tuple[Ranked, ...]
    model: str
    version: str
    request_id: str
    index: int = 0

    @property
    def is_in(self) -> bool:
        """True where the picture is in-distribution, so that its label may be believed."""
        return self.decision == "in"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no verdict; `code` is stable, texts may change."""

    status: int
    code: str
    title: str
    detail: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Model:
    """What is served, in short; `card` is all that GET /model tells."""

    name: str
    version: str
    classes: tuple[str, ...]
    threshold: float | None  # None until the bundle is calibrated
    provider: str
    card: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label that is written, and what the service had decided."""

    request_id: str
    index: int
    label: str
    decision: Literal["in", "out", "unknown"]


class ClientError(MosGuardError):
    """The service gave no verdict."""


class Refused(ClientError):
    """The service answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"The service answers {problem.status} {problem.code}: {problem.detail}")
        self.problem = problem

    @property
    def code(self) -> str:
        """The problem's code."""
        return self.problem.code


class Unreachable(ClientError):
    """There was no answer, or none that the service gives."""


def verdict_of(document: Any, index: int = 0) -> Verdict:
    """Return the verdict in an answer; it raises Unreachable, as those below do, where there is none."""
    with _as_expected():
        top = tuple(Ranked(**_fields(Ranked, one)) for one in document["top"])
        return Verdict(**_fields(Verdict, document) | {"top": top, "index": index})


def problem_of(document: Any) -> Problem:
    """Return the problem in an answer."""
    with _as_expected():
        return Problem(**_fields(Problem, document))


def model_of(document: Any) -> Model:
    """Return the model in an answer."""
    with _as_expected():
        return Model(**_fields(Model, document) | {"classes": tuple(document["classes"]), "card": document})


def labelled_of(document: Any) -> Labelled:
    """Return the written label in an answer."""
    with _as_expected():
        return Labelled(**_fields(Labelled, document))


def unexpected() -> Unreachable:
    """Return the error of an answer that the service does not give."""
    return Unreachable("The answer is none that this service gives; check the URL, and what stands before it.")


def _fields(kind: type[Any], document: Any) -> dict[str, Any]:
    return {field.name: document[field.name] for field in fields(kind) if field.name in document}


@contextmanager
def _as_expected() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError) as error:
        raise unexpected() from error
