"""Where the paper, its authors' code and correctness part: one ledger, and a setting for every place.

Each setting is `paper`, `official` or `corrected`. `paper` is what the paper says, and the cited method where it is
silent; `official` is what the authors' published code does, defects included; `corrected` is what we hold right and is
the default everywhere. Numbers D and B are those of the ledger in `training/RESULTS.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from training.errors import SettingError

Source = Literal["paper", "official", "corrected"]
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True)
class Settings:
    """Whom to follow at each place where the three differ; fields are in the ledger's order."""

    mixup: Source = "corrected"
    flip: Source = "corrected"
    head_start: Source = "corrected"
    odin_epsilon: Source = "corrected"
    fpr95: Source = "corrected"
    mahalanobis: Source = "corrected"
    kl_templates: Source = "corrected"
    schedule: Source = "corrected"
    random_groups: Source = "corrected"
    accumulation: Source = "corrected"
    adversarial_clamp: Source = "corrected"
    unreadable: Source = "corrected"


NAMES = tuple(field.name for field in fields(Settings))


@dataclass(frozen=True)
class Difference:
    """One row of the ledger; `setting` is None where all three compute the same numbers."""

    number: str
    setting: str | None
    paper: str
    official: str
    corrected: str


LEDGER: tuple[Difference, ...] = (
    Difference("D1", "mixup", "none", "Beta(0.1, 0.1) from 20,000 pictures on", "as official: BiT-HyperRule's"),
    Difference("D2", "flip", "none", "half of the pictures mirrored", "as official"),
    Difference("D3", None, "silent", "no weight decay", "no weight decay"),
    Difference("D4", "head_start", "silent: torch's random start", "zeros", "zeros"),
    Difference("D5", None, "512 x 512, crop 480", "squash, mean and deviation 0.5", "the service's preprocessing"),
    Difference("D6", "odin_epsilon", "ODIN's 0.0014", "0: a tempered MSP", "chosen on held-out ID pictures alone"),
    Difference("D7", "fpr95", "TPR of at least 95 %", "recall nearest to 95 %", "TPR of at least 95 %"),
    Difference(
        "D8",
        "mahalanobis",
        "five layers, weighed by a regression on attacked pictures",
        "as the paper",
        "features before the head, nothing tuned",
    ),
    Difference(
        "D9, B4",
        "kl_templates",
        "held-out pictures by predicted class",
        "the ID test pictures by true class",
        "held-out pictures by true class",
    ),
    # Not a setting of commands: it is an argument of `training.weights.read_weights`, which alone meets such labels.
    Difference("D10", None, "silent: sorted ids", "the development kit's order", "sorted ids, permuted when read"),
    Difference("D11", "schedule", "20,000 steps", "by the number of pictures", "by the number of pictures"),
    Difference(
        "§3.3", "random_groups", "each class drawn alone (§3.3)", "not published", "groups of equal size (§4.3.3)"
    ),
    Difference("-", None, "silent", "an epoch's last, shorter batch is kept", "left out"),
    Difference("B1", "accumulation", "one step a batch", "never steps once a batch is split", "one step a batch"),
    Difference("B2", "adversarial_clamp", "the pictures' range", "[0, 1] though pictures live in [-1, 1]", "[-1, 1]"),
    Difference("B3", None, "-", "a regression rebuilt on 4 columns and fed 5: fails today", "fitted on 5"),
    Difference("B5", "unreadable", "silent: an error", "another picture, drawn by chance", "an error naming the file"),
    Difference("B6", None, "-", "calls that numpy and torch have removed", "current calls, same numbers"),
    Difference("B7", None, "-", "B x B products for a diagonal", "matrix products, same numbers"),
)


def settings(follow: Source = "corrected", changes: Iterable[str] = ()) -> Settings:
    """Settings that follow one source, with changes written `NAME=SOURCE`.

    Raises SettingError for a name or source that does not exist.
    """
    return change(Settings(**dict.fromkeys(NAMES, follow)), changes)


def restored(saved: Mapping[str, str]) -> Settings:
    """Settings as a run or a bundle keeps them; what is no longer a setting is left out."""
    return change(Settings(), [f"{name}={source}" for name, source in saved.items() if name in NAMES])


def change(chosen: Settings, changes: Iterable[str]) -> Settings:
    """Settings with some of them changed, written `NAME=SOURCE`. Raises SettingError."""
    for one in changes:
        name, _, source = one.partition("=")
        if name not in NAMES or source not in SOURCES:
            raise SettingError(
                f"{one!r} is no setting; write NAME=paper, =official or =corrected, with a name of {', '.join(NAMES)}."
            )
        chosen = replace(chosen, **{name: source})
    return chosen
