"""What is wrong with a user's pictures, all at once and before anything is fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.contents import content_hashes, copies, equal, listed
from training.data.sets import DataSet, read_data_set
from training.data.splits import with_substitutes
from training.data.survey import Survey, survey
from training.errors import DataError

FEW = 20
"""Pictures of a class below which its accuracy, and how often it is accepted, are luck."""
SHARED = 0.1
"""Share of a class's pictures that are another class's too, from which on the two are no two classes."""


@dataclass(frozen=True)
class Finding:
    """One sentence; a fatal one stops the fit."""

    sentence: str
    fatal: bool


def findings(data: DataSet, seen: Survey, *, unreadable_is_fatal: bool = True) -> list[Finding]:
    """All that is wrong with a data set; what stops a fit comes first."""
    found = [
        *_unreadable(data, seen, fatal=unreadable_is_fatal),
        *_empty_classes(data),
        *_in_two_classes(data, seen),
        *_small_classes(data),
        *_twice_in_a_class(data, seen),
    ]
    return sorted(found, key=lambda finding: not finding.fatal)


def check(found: Iterable[Finding], warn: Callable[[str], None]) -> None:
    """Warn of what may pass, and raise DataError with everything that may not, a sentence a line."""
    fatal = []
    for finding in found:
        if finding.fatal:
            fatal.append(finding.sentence)
        else:
            warn(finding.sentence)
    if fatal:
        raise DataError("\n".join(fatal))


def read_checked(path: Path, *, substitutes: bool, seed: int, warn: Callable[[str], None]) -> tuple[DataSet, Survey]:
    """Read a data set and every picture of it once, and stop where something is wrong; see `findings` and `check`.

    With `substitutes`, pictures that cannot be read are replaced as the authors' code does.
    """
    data = read_data_set(path)
    seen = survey(data)
    check(findings(data, seen, unreadable_is_fatal=not substitutes), warn)
    return with_substitutes(data, seed=seed) if substitutes else data, seen


def shared_pictures(one: DataSet, other: DataSet) -> list[str]:
    """The paths of pictures of `one` that are in `other` too, by content and whatever they are called."""
    hashes, others = content_hashes(one), content_hashes(other)
    return [one.paths[int(row)] for row in np.flatnonzero(np.isin(hashes, others))]


def _unreadable(data: DataSet, seen: Survey, *, fatal: bool) -> list[Finding]:
    named = [f"{data.paths[row]} ({why})" for row, why in seen.unreadable.items()]
    sentence = f"{len(named)} of {len(data)} pictures cannot be read: {listed(named)}; replace or remove each."
    return [Finding(sentence, fatal)] if named else []


def _empty_classes(data: DataSet) -> list[Finding]:
    empty = [data.classes[label] for label in np.flatnonzero(_counts(data) == 0)]
    sentence = f"No picture in {len(empty)} of {len(data.classes)} classes: {listed(empty)}; add pictures to each."
    return [Finding(sentence, True)] if empty else []


def _small_classes(data: DataSet) -> list[Finding]:
    counts = _counts(data)
    small = [f"{data.classes[label]} ({counts[label]})" for label in np.flatnonzero((counts > 0) & (counts < FEW))]
    sentence = (
        f"Fewer than {FEW} pictures in {len(small)} of {len(data.classes)} classes: {listed(small)}; what is said of "
        "them will be rough, add pictures where you can."
    )
    return [Finding(sentence, False)] if small else []


def _in_two_classes(data: DataSet, seen: Survey) -> list[Finding]:
    """Some few are mislabelled, which large public sets have too; two equal folders are no two classes."""
    across = [rows for rows in copies(seen.hashes) if len(set(data.labels[rows].tolist())) > 1]
    if not across:
        return []
    shared = np.bincount(np.concatenate([data.labels[rows] for rows in across]), minlength=len(data.classes))
    sentence = (
        f"The same picture in more than one class, {len(across)} times: {equal(data, across)}; keep each in the class "
        "where it belongs."
    )
    return [Finding(sentence, bool((shared > SHARED * _counts(data)).any()))]


def _twice_in_a_class(data: DataSet, seen: Survey) -> list[Finding]:
    twice = [rows for rows in copies(seen.hashes) if len(set(data.labels[rows].tolist())) == 1]
    sentence = f"The same picture more than once in its class, {len(twice)} times: {equal(data, twice)}."
    return [Finding(sentence, False)] if twice else []


def _counts(data: DataSet) -> NDArray[np.int64]:
    return np.bincount(data.labels, minlength=len(data.classes))
