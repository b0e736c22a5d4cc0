"""KL matching against loops, and whose pictures make the templates."""

import math
from dataclasses import replace

import numpy as np
import pytest

from training.detectors import DETECTORS, FitData, Outputs, kl_matching

pytestmark = pytest.mark.numeric


def softmax(logits: list[float]) -> list[float]:
    """In plain floats."""
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def templates(outputs: Outputs, labels: list[int]) -> list[list[float]]:
    """The mean softmax of each class that has a picture."""
    rows = [softmax(row) for row in outputs.flat_logits.tolist()]
    found = []
    for label in sorted(set(labels)):
        own = [row for row, truth in zip(rows, labels, strict=True) if truth == label]
        found.append([sum(column) / len(own) for column in zip(*own, strict=True)])
    return found


def formula(outputs: Outputs, against: list[list[float]]) -> list[float]:
    """-min over templates of the divergence; terms with p = 0 count nothing."""
    return [
        -min(sum(a * math.log(a / b) for a, b in zip(p, d, strict=True) if a) for d in against)
        for p in (softmax(row) for row in outputs.flat_logits.tolist())
    ]


def test_templates_are_of_held_out_pictures_by_true_class(data: FitData, seen: Outputs) -> None:
    """The default, and the score against loops."""
    expected = formula(seen, templates(data.held_out, data.held_out_labels.tolist()))
    assert kl_matching.score(seen, kl_matching.fit(data)) == pytest.approx(expected, abs=1e-5)


def test_the_paper_takes_the_predicted_class(data: FitData, seen: Outputs) -> None:
    """D9, `paper`: the cited method does not look at labels."""
    predicted = data.held_out.flat_logits.argmax(axis=1)
    shuffled = replace(data, held_out_labels=np.roll(data.held_out_labels, 3), kl_templates="paper")
    expected = formula(seen, templates(data.held_out, predicted.tolist()))
    assert kl_matching.score(seen, kl_matching.fit(shuffled)) == pytest.approx(expected, abs=1e-5)


def test_the_official_code_takes_the_true_class_of_the_pictures_it_is_given(data: FitData, seen: Outputs) -> None:
    """D9, `official`: given the ID test set as held-out, its templates are of that set by true class."""
    labels = np.arange(len(seen.features)) % 7
    official = replace(data, held_out=seen, held_out_labels=labels, kl_templates="official")
    expected = formula(seen, templates(seen, labels.tolist()))
    assert kl_matching.score(seen, kl_matching.fit(official)) == pytest.approx(expected, abs=1e-5)


def test_a_class_without_a_picture_has_no_template(data: FitData, seen: Outputs) -> None:
    """And the scores are finite."""
    labels = np.where(data.held_out_labels == 3, 4, data.held_out_labels)
    statistics = kl_matching.fit(replace(data, held_out_labels=labels))
    assert statistics["log_templates"].shape == (6, 7)
    assert np.isfinite(kl_matching.score(seen, statistics)).all()


def test_the_score_is_finite_where_a_template_is_nearly_zero(data: FitData, seen: Outputs) -> None:
    """Logits so far apart that float32 and float64 round probabilities to 0."""
    far = replace(seen, flat_logits=seen.flat_logits * 1000)
    extreme = replace(data, held_out=replace(data.held_out, flat_logits=data.held_out.flat_logits * 1000))
    scores = DETECTORS["kl_matching"].score(far, kl_matching.fit(extreme))
    assert np.isfinite(scores).all()
    assert scores.max() <= 1e-6
