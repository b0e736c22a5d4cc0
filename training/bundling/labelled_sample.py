"""Labels as a sample of what is served: what is asked about is chosen, and the choice must not choose the threshold.

Operators look at what was rejected more often than at what was accepted, so their labels hold too many low scores, or
too few. A threshold is certified on pictures that are like those that come. Verdict lines tell how many of each
decision came; labels of the decision that was asked about more often are then left out by chance, until accepted and
rejected pictures are labelled in equal shares. What is left is a sample of the traffic, provided that within a decision
the pictures to label were chosen without regard to what they show. How many are left is fixed and only which of them
is drawn: a threshold of such a stratified sample varies less than one of pictures as they come, and is no less sure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from training.bundling.labels import Label

DECISIONS = ("in", "out")
ROUNDING = 1e-6  # of counts of pictures that are made of shares
SEED = 0  # fixed, so that nobody draws until a threshold pleases; it decides which labels stay and not how many


@dataclass(frozen=True)
class LabelledSample:
    """The labels that may be used, and the share of each decision's pictures that was labelled.

    Where those do not represent the traffic, `problem` says why; none may be used where a decision has no label at all.
    """

    kept: Sequence[Label]
    shares: Mapping[str, float]
    problem: str | None = None


def sample(labels: Sequence[Label], served: Mapping[str, float]) -> LabelledSample:
    """Of `labels`, those that represent the pictures `served`, how many of each decision there were."""
    labelled: Counter[str] = Counter(label.decision for label in labels)
    missing = [decision for decision in DECISIONS if not labelled[decision] and (served.get(decision) or not served)]
    if labels and missing:
        problem = (
            f"none of the labelled pictures was judged `{missing[0]}`: they are a selected sample, which certifies "
            "nothing; label some of those too, or give --data"
        )
        return LabelledSample([], {}, problem)
    if labels and not all(served.get(decision) for decision in labelled):
        problem = (
            "no verdict lines tell how many accepted and rejected pictures there were, so that labels of one kind may "
            "be too many; give --verdicts"
        )
        return LabelledSample(labels, {}, problem)
    shares = {decision: count / served[decision] for decision, count in labelled.items()}
    least = min(shares.values(), default=0.0)
    # A rejected picture more is a lower threshold, which keeps the promise.
    counts = {
        "in": floor(least * served.get("in", 0) + ROUNDING),
        "out": ceil(least * served.get("out", 0) - ROUNDING),
    }
    generator = np.random.default_rng(SEED)
    kept = [label for decision in labelled for label in _drawn(labels, decision, counts[decision], generator)]
    return LabelledSample(kept, shares)


def _drawn(labels: Sequence[Label], decision: str, count: int, generator: np.random.Generator) -> list[Label]:
    of_decision = [label for label in labels if label.decision == decision]
    return [of_decision[place] for place in generator.permutation(len(of_decision))[:count]]
