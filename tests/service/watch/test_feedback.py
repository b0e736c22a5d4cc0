"""A label finds its verdict as long as that is remembered, and a picture is counted once."""

import json
from dataclasses import replace
from typing import Any

import pytest

from service.bundle import Bundle, Manifest
from service.watch.feedback import (
    Feedback,
    RememberedVerdict,
    VerdictMemory,
    agreement,
    decision_on,
    feedback_line,
)
from tests.service.watch.parts import VERDICT


@pytest.fixture
def manifest(tiny_bundle: Bundle) -> Manifest:
    return tiny_bundle.manifest


def test_a_verdict_is_remembered_by_id_and_place(manifest: Manifest) -> None:
    """Each picture of a batch has its own."""
    memory = VerdictMemory(10)
    memory.remember("a", 0, VERDICT, manifest)
    memory.remember("a", 1, replace(VERDICT, decision="out"), manifest)
    assert memory.recall(("a", 0)) == RememberedVerdict("in", "red", -0.1, manifest)
    assert decision_on(memory.recall(("a", 1))) == "out"
    assert decision_on(memory.recall(("a", 2))) == decision_on(memory.recall(("b", 0))) == "unknown"


def test_the_oldest_is_forgotten(manifest: Manifest) -> None:
    """Memory is bounded; an id that came again is as young as its latest verdict."""
    memory = VerdictMemory(3)
    for request_id in ("a", "b", "c", "a", "d"):
        memory.remember(request_id, 0, VERDICT, manifest)
    assert [request_id for request_id in "abcd" if memory.recall((request_id, 0)) is not None] == ["a", "c", "d"]


def test_of_an_id_that_comes_again_the_latest_verdict_counts(manifest: Manifest) -> None:
    """Ids are the callers'; a label given before is not about the new picture."""
    memory = VerdictMemory(3)
    memory.remember("a", 0, VERDICT, manifest)
    assert memory.is_first_label(("a", 0))
    memory.remember("a", 0, replace(VERDICT, decision="out"), manifest)
    assert decision_on(memory.recall(("a", 0))) == "out"
    assert memory.is_first_label(("a", 0))


def test_only_the_first_label_is_a_first_one(manifest: Manifest) -> None:
    """An operator who corrects himself, or sends again, is not counted twice, whether or not the id is known."""
    memory = VerdictMemory(3)
    memory.remember("a", 0, VERDICT, manifest)
    for key in (("a", 0), ("a", 1), ("unknown", 0)):
        assert [memory.is_first_label(key) for _ in range(3)] == [True, False, False]


def test_labels_of_unknown_ids_are_bounded_and_push_no_verdict_out(manifest: Manifest) -> None:
    """Whoever makes up ids costs no more memory than verdicts do."""
    memory = VerdictMemory(3)
    memory.remember("a", 0, VERDICT, manifest)
    for number in range(10):
        memory.is_first_label((str(number), 0))
    assert len(memory._labelled) == 3
    assert memory.recall(("a", 0)) is not None


@pytest.mark.parametrize(
    ("label", "side", "names_class"), [("in", "in", False), ("out", "out", False), ("red", "in", True)]
)
def test_a_class_says_in(label: str, side: str, names_class: bool) -> None:
    """The two words are the sides, everything else is a class."""
    feedback = Feedback("a", 0, label)
    assert (feedback.side, feedback.names_class) == (side, names_class)


def test_a_class_agrees_with_the_prediction_or_not(manifest: Manifest) -> None:
    """What had been decided does not matter for the class."""
    verdict = RememberedVerdict("out", "red", -0.95, manifest)
    assert agreement(Feedback("a", 0, "red"), verdict) == "yes"
    assert agreement(Feedback("a", 0, "blue"), verdict) == "no"
    assert agreement(Feedback("a", 0, "red"), None) == "unknown"


@pytest.mark.parametrize("is_known", [True, False])
def test_a_line_has_the_label_and_what_is_known_of_its_verdict(manifest: Manifest, is_known: bool) -> None:
    """Nothing is guessed: a verdict that is not remembered leaves null."""
    verdict = RememberedVerdict("in", "red", -0.1, manifest) if is_known else None
    line: dict[str, Any] = json.loads(feedback_line(Feedback("a", 2, "out"), verdict, 1_767_323_045.0))
    assert line == {
        "kind": "feedback",
        "time": "2026-01-02T03:04:05.000+00:00",
        "request_id": "a",
        "index": 2,
        "label": "out",
        "decision": "in" if is_known else "unknown",
        "model": "tiny" if is_known else None,
        "version": "1" if is_known else None,
        "model_sha256": manifest.model_sha256 if is_known else None,
        "score": -0.1 if is_known else None,
        "predicted": "red" if is_known else None,
    }
