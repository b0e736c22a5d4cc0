"""What a calibration promises, in words and tables: its own method beside the others, its groups, its pictures.

Made here once, for the card and for the terminal.
"""

from __future__ import annotations

from service.bundle import Calibration, LetIn, Manifest
from training.bundling.guarantee import minimum_count, pictures_for_width, promise_kept, rank, tpr_interval
from training.bundling.methods import Method, promise

CHOSEN = "(chosen)"
UNKNOWN = "-"
EACH_BY_ITSELF = (
    "A group is that of the predicted class. Each group's promise stands by itself: that all are kept at once is less "
    "probable. A group with too few pictures has the threshold of all, and no promise of its own. At every TPR, shares "
    "of what is accepted or let in are by the thresholds that groups have there."
)

Row = list[str]


def guarantee(manifest: Manifest, calibration: Calibration) -> str:
    """What the thresholds promise, as a sentence."""
    promised = promise(Method(calibration.method), calibration.tpr, calibration.confidence)
    low, high = calibration.tpr_interval
    between = f"the true TPR lies between {100 * low:.2f} and {100 * high:.2f} %"
    at = f"{calibration.threshold:.6g}, rank {calibration.k} from the lowest of {calibration.n} pictures"
    if groups := len(calibration.group_thresholds):
        others = f" Any other group has the threshold of all, {at}." if groups < len(manifest.groups) else ""
        return (
            f"In each of {groups} predicted groups, at a threshold of its own, {promised}.{others} Over all groups "
            f"{between}."
        )
    kept = promise_kept(calibration.n, calibration.k, calibration.tpr)
    return (
        f"At the threshold of {at}, {promised}. Of such calibrations {percent(kept)} keep {percent(calibration.tpr)}; "
        f"{between}."
    )


def methods_table(calibration: Calibration) -> list[Row]:
    """The header and a row for each method: what it would set on the same scores, and how probably the TPR is kept."""
    tpr, confidence, n = calibration.tpr, calibration.confidence, calibration.n
    rows = [[*_header("method", calibration), "promises"]]
    for method in Method:
        name = f"{method} {CHOSEN}" if method == calibration.method else str(method)
        needed = minimum_count(tpr, confidence, method)
        if n < needed:
            rows.append([name, f"needs {needed} pictures", *[UNKNOWN] * (len(rows[0]) - 2)])
            continue
        k = rank(method, n, tpr, confidence)
        threshold = calibration.reference.scores[calibration.reference.ranks.index(k)]
        interval = tpr_interval(n, k, confidence)
        rows.append([name, *_cells(threshold, n, k, tpr, interval), promise(method, tpr, confidence)])
    return rows


def groups_table(manifest: Manifest, calibration: Calibration) -> list[Row]:
    """The header and a row for each predicted group; nothing where groups have no thresholds of their own."""
    if not calibration.group_thresholds:
        return []
    own = {entry.group: entry for entry in calibration.group_thresholds}
    rows = [_header("predicted group", calibration)]
    needed = minimum_count(calibration.tpr, calibration.confidence)
    for group in manifest.groups:
        if entry := own.get(group.name):
            cells = _cells(entry.threshold, entry.n, entry.k, calibration.tpr, entry.tpr_interval)
            rows.append([group.name, *cells])
        else:
            missing = f"{calibration.threshold:.6g}, as all; its own needs {needed} pictures"
            rows.append([group.name, missing, *[UNKNOWN] * (len(rows[0]) - 2)])
    return rows


def width_sentence(calibration: Calibration, width: float) -> str:
    """How many pictures would narrow the interval of the true TPR to a width. Raises CalibrationError.

    Of one threshold for all; what the same takes where groups have their own depends on how pictures fall into them.
    """
    needed = pictures_for_width(width, Method(calibration.method), calibration.tpr, calibration.confidence)
    points = f"{100 * width:g} point{'' if width == 0.01 else 's'}"
    within = f"within {points}, from end to end of its interval"
    if calibration.group_thresholds:
        return f"To know the true TPR of one threshold for all groups {within}: {needed:,} pictures."
    low, high = calibration.tpr_interval
    sentence = f"To know the true TPR {within}: {needed:,} pictures"
    return f"{sentence} (now {calibration.n:,}, within {100 * (high - low):.2f})."


def about_pictures(calibration: Calibration) -> str:
    """What is known of the calibration pictures: labels, copies, and whether the model was fitted on any."""
    data = calibration.data
    sentences = []
    if labels := data.get("labels"):
        sentences.append(f"Made with {labels} labels that operators gave to served pictures.")
    if "labelled_out" in data:
        out = LetIn.model_validate(data["labelled_out"])
        interval = f"[{percent(out.interval[0])}, {percent(out.interval[1])}]"
        sentences.append(f"Of {out.n:,} pictures that were labelled out, {percent(out.share)} get in {interval}.")
    read = data.get("pictures_in", data)
    if not isinstance(read, dict) or "fitted_pictures_compared" not in read:
        return " ".join(sentences)
    count, again = read["fitted_pictures_compared"], read["repeats_left_out"]
    sentences.append(
        "Whether the model was fitted on any of its pictures is not known, because the bundle has no list of them."
        if count is None
        else f"By content, none of its pictures is among the {count:,} that the model was fitted on."
    )
    if again:
        sentences.append(f"{again} pictures were there more than once and count once.")
    return " ".join(sentences)


def percent(fraction: float) -> str:
    """A share for a person, four digits at most."""
    return f"{100 * fraction:.4g} %"


def _header(first: str, calibration: Calibration) -> Row:
    kept = f"keeps {percent(calibration.tpr)} with probability"
    return [first, "threshold", "n", "k", kept, f"true TPR ({percent(calibration.confidence)} interval)"]


def _cells(threshold: float, n: int, k: int, tpr: float, interval: tuple[float, float]) -> Row:
    low, high = interval
    kept = promise_kept(n, k, tpr)
    return [f"{threshold:.6g}", str(n), str(k), f"{100 * kept:.1f} %", f"{100 * low:.2f} to {100 * high:.2f} %"]
