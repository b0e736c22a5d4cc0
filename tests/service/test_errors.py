"""The error tree."""

import inspect

import pytest

from service import errors


def _tree(cls: type[Exception], depth: int = 0) -> list[tuple[int, str]]:
    """Return (depth, name) of *cls* and all below it in its module, in the order of definition."""
    children = [child for child in cls.__subclasses__() if child.__module__ == cls.__module__]
    below = [row for child in children for row in _tree(child, depth + 1)]
    return [(depth, cls.__name__), *below]


def test_docstring_draws_the_real_tree() -> None:
    """The tree at the head of the module names every class, in order and at its true depth."""
    drawn = []
    for line in (errors.__doc__ or "").splitlines():
        indent = line.removeprefix("    ")
        name = indent.lstrip("│├└─ ").split(" ")[0]
        if line.startswith("    ") and hasattr(errors, name):
            drawn.append(((len(indent) - len(indent.lstrip("│├└─ "))) // 4, name))
    assert drawn == _tree(errors.MosGuardError)


def test_every_error_of_the_module_is_in_the_tree() -> None:
    """Whoever catches MosGuardError catches everything that the project raises on purpose."""
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    assert classes
    assert all(issubclass(cls, errors.MosGuardError) for cls in classes)


def test_overloaded_says_when_to_come_back() -> None:
    """Overloaded carries its delay in seconds beside the sentence."""
    error = errors.Overloaded("The queue is full; try again later.", retry_after_seconds=1.5)
    assert (str(error), error.retry_after_seconds) == ("The queue is full; try again later.", 1.5)


def test_input_errors_are_told_from_the_services_own() -> None:
    """Only what the caller can mend is an InputError."""
    assert issubclass(errors.CorruptImage, errors.InputError)
    for cls in (errors.Overloaded, errors.ModelOutputError, errors.NotReady, errors.Unauthorized):
        assert not issubclass(cls, errors.InputError)


def test_overloaded_needs_a_delay() -> None:
    """Nobody is turned away without being told when to return."""
    with pytest.raises(TypeError):
        errors.Overloaded("The queue is full.")  # type: ignore[call-arg]
