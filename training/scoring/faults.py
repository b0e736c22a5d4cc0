"""What is said of a picture that has no verdict: the service's code and sentence, and one more for a file."""

from __future__ import annotations

from typing import NamedTuple

from service.http.problems import problem_of, sentence_of
from training.errors import DataError


class Fault(NamedTuple):
    """Why a picture has no verdict: `code` is stable, `detail` is a sentence."""

    code: str
    detail: str


def fault_of(error: Exception) -> Fault:
    """What is said of *error*: an OSError or a DataError is of a file that cannot be read."""
    if isinstance(error, OSError):
        return Fault("unreadable_file", f"The file cannot be read ({error.strerror or error}).")
    if isinstance(error, DataError):
        return Fault("unreadable_file", str(error))
    return Fault(problem_of(error).code, sentence_of(error))
