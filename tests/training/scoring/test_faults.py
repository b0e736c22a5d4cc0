"""A picture without a verdict is told in the service's words."""

import pytest

from service.errors import CorruptImage, ModelOutputError
from service.http.problems import problem_document
from training.errors import DataError
from training.scoring.faults import Fault, fault_of


@pytest.mark.parametrize("error", [CorruptImage("It is damaged."), ModelOutputError("NaN"), MemoryError()])
def test_what_the_service_refuses_has_its_code_and_sentence(error: Exception) -> None:
    """One table, for whoever reads both."""
    document = problem_document(error, "")
    assert fault_of(error) == Fault(document["code"], document["detail"])


def test_what_cannot_be_read_says_why() -> None:
    """A service is never asked for a file."""
    missing = FileNotFoundError(2, "No such file or directory")
    assert fault_of(missing) == Fault("unreadable_file", "The file cannot be read (No such file or directory).")
    assert fault_of(DataError("The shard is damaged.")) == Fault("unreadable_file", "The shard is damaged.")
