"""Labels as a sample of what was served: what is asked about is chosen, and the choice must not choose the threshold.

Operators look at what was rejected more often than at what was accepted, so their labels hold too many low scores, or
too few. A threshold is certified on pictures that are like those that come. Verdict lines tell how many of each
decision came; labels of the decision that was asked about more often are then left out by chance, until accepted and
rejected pictures are labelled in equal shares. What is left is a sample of the pictures that were logged, provided that
within a decision the pictures to label were chosen without regard to what they show.

Pictures of one request are often alike, of one camera at one moment, and n of them tell less than n pictures do. So one
label of a request counts at most, at a chance that grows with the number of its labels: then every picture is as
probable as any other, though requests differ in size, and no two depend on each other.

Which labels stay is drawn by a hash of the request's id, so neither the order of lines nor a second run changes it.
Simulations in the tests hold all of that to the confidence.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from training.bundling.labels import Label

DECISIONS = ("in", "out")
ROUNDING = 1e-6  # of counts of pictures that are made of shares


@dataclass(frozen=True)
class LabelledSample:
    """The labels that may be used, and the share of each decision's pictures that was labelled.

    Where the labels do not represent the traffic, none may be used and `problem` says why.
    """

    kept: Sequence[Label]
    thinned: Sequence[Label]  # what is left in equal shares; of those, one of a request is kept
    shares: Mapping[str, float]
    problem: str | None = None


def sample(labels: Sequence[Label], logged: Mapping[str, int]) -> LabelledSample:
    """Of `labels`, those that represent the pictures that were `logged`, the labelled ones among them."""
    labelled: Counter[str] = Counter(label.decision for label in labels)
    missing = [decision for decision in DECISIONS if labels and decision not in labelled]
    if missing:
        problem = (
            f"none of the labelled pictures was judged `{missing[0]}`: they are a selected sample, which certifies "
            "nothing; label some of those too, or give --data"
        )
        return LabelledSample([], [], {}, problem)
    if not labels:
        return LabelledSample([], [], {})
    shares = {decision: labelled[decision] / logged[decision] for decision in DECISIONS}
    least = min(shares.values())
    # Rounded towards the lower threshold, which keeps the promise: an accepted picture fewer, or a rejected one more.
    thinned = _drawn(labels, "in", floor(least * logged["in"] + ROUNDING))
    thinned += _drawn(labels, "out", ceil(least * logged["out"] - ROUNDING))
    return LabelledSample(_one_of_a_request(thinned), thinned, shares)


def _drawn(labels: Sequence[Label], decision: str, count: int) -> list[Label]:
    of_decision = [label for label in labels if label.decision == decision]
    return sorted(of_decision, key=lambda label: _uniform(*label.key))[:count]


def _one_of_a_request(labels: Sequence[Label]) -> list[Label]:
    by_request: dict[str, list[Label]] = {}
    for label in labels:
        by_request.setdefault(label.key[0], []).append(label)
    most = max(len(same) for same in by_request.values())
    return [
        min(same, key=lambda label: _uniform("of its request", *label.key))
        for request_id, same in by_request.items()
        if _uniform("request", request_id) * most < len(same)
    ]


def _uniform(*parts: str | int) -> float:
    """A number in [0, 1) that looks drawn, and is the same for the same parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
