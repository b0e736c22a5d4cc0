"""Labels as a sample of what is served: what is asked about is chosen, and the choice must not choose the threshold.

Operators look at what was rejected more often than at what was accepted, so their labels hold too many low scores, or
too few. A threshold is certified on pictures that are like those that come. Verdict lines tell how many of each
decision came; labels of the decision that was asked about more often are then left out by chance, until accepted and
rejected pictures are labelled in equal shares. What is left is a sample of the traffic, provided that within a decision
the pictures to label were chosen without regard to what they show.

Where not every verdict is written, the lines tell the share of rejected pictures roughly. It is taken as large as it
may be, for a rejected picture more is a lower threshold, which keeps the promise. How many labels are left is fixed and
only which of them is drawn: a threshold of such a stratified sample varies less than one of pictures as they come, and
is no less sure. Simulations in the tests hold all of that to the confidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from scipy.special import betaincinv

from training.bundling.labels import Label, Served

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


def sample(labels: Sequence[Label], served: Served | None, confidence: float) -> LabelledSample:
    """Of `labels`, those that represent what was `served`."""
    labelled = Counter(label.decision for label in labels)
    missing = [decision for decision in DECISIONS if labels and decision not in labelled]
    if missing:
        problem = (
            f"none of the labelled pictures was judged `{missing[0]}`: they are a selected sample, which certifies "
            "nothing; label some of those too, or give --data"
        )
        return LabelledSample([], {}, problem)
    if labels and (served is None or not served.accepted):
        problem = (
            "no verdict lines tell how many accepted and rejected pictures there were, so that labels of one kind may "
            "be too many; give --verdicts"
        )
        return LabelledSample(labels, {}, problem)
    if not labels or served is None:
        return LabelledSample([], {})
    accepted, rejected = served.accepted, served.accepted * _most_rejected(served, confidence)
    shares = {"in": labelled["in"] / accepted, "out": labelled["out"] / rejected}
    least = min(shares.values())
    generator = np.random.default_rng(SEED)
    kept = _drawn(labels, "in", floor(least * accepted + ROUNDING), generator)
    kept += _drawn(labels, "out", ceil(least * rejected - ROUNDING), generator)
    return LabelledSample(kept, shares)


def _most_rejected(served: Served, confidence: float) -> float:
    """How many rejected pictures there are at most to an accepted one: Clopper and Pearson's upper limit.

    Lines of nearly all pictures are counted as more, by the correction for a finite population; of all, they are exact.
    """
    total = served.accepted + served.rejected
    unwritten = 1 - served.lines / total
    if unwritten <= 0:
        return served.rejected / served.accepted
    lines = served.lines / unwritten
    lines_out = lines * served.rejected / total
    share = float(betaincinv(lines_out + 1, lines - lines_out, confidence))
    return share / (1 - share)


def _drawn(labels: Sequence[Label], decision: str, count: int, generator: np.random.Generator) -> list[Label]:
    of_decision = [label for label in labels if label.decision == decision]
    return [of_decision[place] for place in generator.permutation(len(of_decision))[:count]]
