"""The card of a calibration: what is promised and what gets in, to read before trusting it.

The table of operating points is made here once, for the card and for the terminal.
"""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import BaseModel, ValidationError

from service.bundle import CARD_FILE, CARD_PICTURE_FILE, Calibration, LetIn, Manifest, OperatingPoint
from training.bundling.guarantee import minimum_count
from training.bundling.methods import Method
from training.bundling.operating_points import TPRS
from training.bundling.promises import (
    CHOSEN,
    EACH_BY_ITSELF,
    UNKNOWN,
    Row,
    about_pictures,
    groups_table,
    guarantee,
    methods_table,
    percent,
    width_sentence,
)
from training.bundling.strangers import JudgedStrangers
from training.bundling.thresholds import Scored
from training.errors import CalibrationError
from training.progress import say

HOW_TO_CHOOSE = (
    "To choose another line, run the same `mos-guard calibrate` with its TPR, such as `--tpr 0.9`: a lower TPR turns "
    "more foreign pictures away, and more of your own."
)
NO_STRANGERS = (
    "What gets in is not known: give `mos-guard calibrate` folders of foreign pictures, `--strangers NAME=FOLDER`."
)


class SiblingShare(BaseModel):
    """The share of pictures of unseen classes that a TPR lets in."""

    tpr: float
    share: float
    interval: tuple[float, float]


class Siblings(BaseModel):
    """The manifest's `metrics["siblings"]`: classes of the user's own kind, left out of training in turn."""

    auroc: float
    folds: int
    let_in: list[SiblingShare]


def card_files(
    manifest: Manifest,
    calibration: Calibration,
    scored: Scored,
    strangers: JudgedStrangers | None,
    *,
    interval_width: float,
) -> dict[str, bytes]:
    """The card's files by their names: the text, and the picture of the scores where matplotlib is installed.

    Raises CalibrationError for an `interval_width` that no number of pictures gives.
    """
    with_picture = find_spec("matplotlib") is not None
    text = markdown(manifest, calibration, interval_width=interval_width, with_picture=with_picture)
    files = {CARD_FILE: text.encode()}
    if with_picture:
        from training.bundling.card_picture import draw

        files[CARD_PICTURE_FILE] = draw(manifest, calibration, scored, strangers.scaled if strangers else {})
    else:
        say("the card has no picture, because matplotlib is not installed")
    return files


def markdown(manifest: Manifest, calibration: Calibration, *, interval_width: float, with_picture: bool) -> str:
    """The card as text; figures of foreign pictures are of those scaled to one's own size unless they say otherwise."""
    sections = [
        f"# {manifest.name} {manifest.version}: what gets in",
        f"{guarantee(manifest, calibration)} What decides is `{manifest.decided_by}`.",
        " ".join(filter(None, [width_sentence(calibration, interval_width), about_pictures(calibration)])),
        _markdown_table(table(manifest, calibration)),
        *_explanations(manifest, calibration),
        HOW_TO_CHOOSE,
        _markdown_table(methods_table(calibration)),
        *([_markdown_table(groups), EACH_BY_ITSELF] if (groups := groups_table(manifest, calibration)) else []),
        *([f"![Scores and thresholds]({CARD_PICTURE_FILE})"] if with_picture else []),
        f"Calibrated {calibration.created:%Y-%m-%d %H:%M} UTC with the model of SHA-256 `{calibration.model_sha256}`.",
    ]
    return "\n\n".join(sections) + "\n"


def table(manifest: Manifest, calibration: Calibration) -> list[Row]:
    """The header and a row for each TPR, the highest first, those that n is too small for with what is missing."""
    points = {point.tpr: point for point in calibration.operating_points}
    siblings = siblings_of(manifest)
    rows = [_header(calibration, siblings)]
    for tpr in sorted({*TPRS, *points}, reverse=True):
        first = f"{percent(tpr)} {CHOSEN}" if tpr == calibration.tpr else percent(tpr)
        if tpr in points:
            rows.append([first, *_cells(points[tpr], calibration, siblings)])
        else:
            needed = f"needs {minimum_count(tpr, calibration.confidence, Method(calibration.method))} pictures"
            rows.append([first, needed, *[UNKNOWN] * (len(rows[0]) - 2)])
    return rows


def siblings_of(manifest: Manifest) -> Siblings | None:
    """The figures on unseen classes, where the bundle has them. Raises CalibrationError for ones of another form."""
    if "siblings" not in manifest.metrics:
        return None
    try:
        return Siblings.model_validate(manifest.metrics["siblings"])
    except ValidationError as error:
        raise CalibrationError("The bundle's `metrics.siblings` has another form; export the bundle again.") from error


def siblings_sentence(siblings: Siblings) -> str:
    """What is known of classes of the user's own kind that were never seen."""
    shares = "; ".join(
        f"{_share(found.share, found.interval)} at TPR {percent(found.tpr)}" for found in siblings.let_in
    )
    return (
        f"Unseen siblings, classes of your own kind that were left out of training in {siblings.folds} folds: "
        f"told from known ones with an AUROC of {siblings.auroc:.3f}; let in {shares} "
        "(intervals over draws of classes, at one certified threshold for all groups)."
    )


def _explanations(manifest: Manifest, calibration: Calibration) -> list[str]:
    strangers, siblings = calibration.strangers, siblings_of(manifest)
    paragraphs = [siblings_sentence(siblings)] if siblings else []
    if strangers is None:
        return [*paragraphs, NO_STRANGERS]
    side = strangers.short_side_pixels
    paragraphs.append(
        f"Behind a share of foreign pictures: its exact interval at {percent(calibration.confidence)} confidence. "
        "Sharpness alone tells a photograph from a small picture, so foreign pictures were first scaled down to a "
        f"short side of {side} pixels, the median of the calibration pictures; beside that stands what gets in of the "
        "same pictures as they are."
    )
    paragraphs.append("\n".join(_about_the_set(name, calibration) for name in strangers.sets))
    return paragraphs


def _about_the_set(name: str, calibration: Calibration) -> str:
    assert calibration.strangers is not None
    found = calibration.strangers.sets[name]
    line = f"- {name}: {found.data['n']} pictures, {found.scaled_down} of them scaled down"
    if found.smaller:
        line += (
            f", {found.smaller} smaller than your own and never enlarged, so blur may give these away and flatter the "
            "figure"
        )
    return f"{line}; data `{found.data['sha256']}`."


def _header(calibration: Calibration, siblings: Siblings | None) -> Row:
    header = ["TPR at least", "threshold of all" if calibration.group_thresholds else "threshold"]
    if _has_accuracy(calibration):
        header.append("accuracy on accepted")
    for name in _names(calibration):
        header.append(f"{name} let in")
        if _was_scaled(name, calibration):
            header.append(f"{name} as they are")
    return [*header, *(["unseen siblings let in"] if siblings else [])]


def _cells(point: OperatingPoint, calibration: Calibration, siblings: Siblings | None) -> Row:
    cells = [f"{point.threshold:.6g}"]
    if _has_accuracy(calibration):
        assert point.accuracy_on_accepted is not None
        cells.append(f"{100 * point.accuracy_on_accepted:.1f} %")
    for name in _names(calibration):
        cells.append(_let_in(point.strangers[name].scaled))
        if _was_scaled(name, calibration):
            cells.append(_let_in(point.strangers[name].as_is))
    if siblings:
        shares = {found.tpr: _share(found.share, found.interval) for found in siblings.let_in}
        cells.append(shares.get(point.tpr, UNKNOWN))
    return cells


def _names(calibration: Calibration) -> list[str]:
    return list(calibration.strangers.sets) if calibration.strangers else []


def _was_scaled(name: str, calibration: Calibration) -> bool:
    return calibration.strangers is not None and calibration.strangers.sets[name].scaled_down > 0


def _has_accuracy(calibration: Calibration) -> bool:
    return any(point.accuracy_on_accepted is not None for point in calibration.operating_points)


def _let_in(found: LetIn) -> str:
    return _share(found.share, found.interval)


def _share(share: float, interval: tuple[float, float]) -> str:
    return f"{100 * share:.1f} % [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _markdown_table(rows: list[Row]) -> str:
    header, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    body = [[f"**{cell}**" for cell in row] if row[0].endswith(CHOSEN) else row for row in body]
    alignment = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, alignment, *body])
