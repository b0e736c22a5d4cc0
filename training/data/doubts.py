"""What a split cannot promise: said before the fit, while pictures can still be added."""

from __future__ import annotations

from training.data.series import Likeness, classes_of_one_series, nearest
from training.data.splits import Split

TOO_LIKE = 0.5
"""Share of held-out pictures with a near copy among the fitted ones, from which on they stand for no other place.

After a random split 0.73 of grocery pictures have one by their features, and 0.04 of photographs collected one by one;
of groceries from other shops 0.17 to 0.24 have one.
"""


def closeness(parts: Split, likeness: Likeness) -> float:
    """Share of the pictures held out for the threshold that are near copies of a fitted one of their class."""
    if not len(parts.calibration_rows):
        return 0.0
    closest = nearest(likeness, parts.whole.labels, parts.calibration_rows, parts.fitted_rows)
    return float((closest > likeness.near).mean())


def doubts(parts: Split, close: float, needed: int) -> list[str]:
    """Sentences on a split whose held-out pictures have the closeness `close`; `calibrate` wants `needed` of them."""
    said = []
    count, whole = len(parts.calibration_rows), parts.whole
    alone = 0 if parts.series is None else classes_of_one_series(whole.labels, parts.series)
    if alone and (count or needed):
        said.append(
            f"All pictures of {alone} of {len(whole.classes)} classes are of one series, or look so; nothing of these "
            "classes is held out, so add pictures of them from another place."
        )
    if close > TOO_LIKE:
        said.append(
            f"{close:.0%} of the pictures held out for the threshold are much like one that is fitted, so in another "
            "place fewer will be accepted than promised; tell the places apart with --group-by, or calibrate on "
            "pictures from elsewhere."
        )
    if 0 < count < needed:
        said.append(
            f"Only {count} pictures are held out for the threshold, and calibrate will refuse fewer than {needed}; "
            "hold out more with --calibration, or give it pictures of their own."
        )
    return said
