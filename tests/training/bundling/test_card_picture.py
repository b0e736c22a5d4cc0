"""The picture shows every set and every threshold, the chosen one apart from the rest."""

import io

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from service.bundle import Bundle, Calibration
from tests.service.bundle.parts import a_manifest
from tests.training.bundling.scores import certified, scored
from training.bundling.calibrate import fit
from training.bundling.card_picture import draw, figure

OWN = scored(np.linspace(-1, 0, 300))
FOREIGN = {"near": scored(np.linspace(-1.2, -0.2, 50)), "far": scored(np.full(40, -3.0))}


@pytest.fixture
def calibration(tiny_bundle: Bundle) -> Calibration:
    """Of 300 pictures, so that every TPR is certified."""
    return fit(OWN, tiny_bundle, certified(0.95), data={})


def test_the_picture_is_a_png(calibration: Calibration) -> None:
    """It grows with the sets."""
    with Image.open(io.BytesIO(draw(a_manifest(), calibration, OWN, FOREIGN))) as three:
        assert three.format == "PNG"
        with Image.open(io.BytesIO(draw(a_manifest(), calibration, OWN, {}))) as one:
            assert three.height > one.height


def test_every_threshold_is_in_every_panel(calibration: Calibration) -> None:
    """At its place, inside the panel, with its TPR above the first; the chosen one is a line and the others dots."""
    thresholds = {point.threshold for point in calibration.operating_points}
    axes = figure(a_manifest(), calibration, OWN, FOREIGN).axes
    for axis in axes:
        drawn = {float(line.get_xdata()[0]): line.get_linestyle() for line in axis.lines}  # type: ignore[index, arg-type]
        assert set(drawn) == thresholds
        assert [place for place, style in drawn.items() if style == "-"] == [calibration.threshold]
        low, high = axis.get_xlim()
        assert all(low < threshold < high for threshold in thresholds)
    labels = [text.get_text() for text in axes[0].texts if text.get_text().startswith("TPR")]
    assert sorted(labels) == ["TPR 80 %", "TPR 90 %", "TPR 95 %", "TPR 98 %", "TPR 99 %"]


def test_each_panel_says_what_share_gets_in(calibration: Calibration) -> None:
    """The first is one's own, and a set that is turned away altogether says so."""
    axes = figure(a_manifest(), calibration, OWN, FOREIGN).axes
    assert [axis.get_ylabel() for axis in axes] == ["your own", "near", "far"]
    assert "0.0 %\nlet in" in [text.get_text() for text in axes[2].texts]
    own = 100 * (calibration.threshold <= OWN.scores).mean()
    assert f"{own:.1f} %\naccepted" in [text.get_text() for text in axes[0].texts]


@pytest.mark.parametrize("far", [-100.0, 100.0])
def test_labels_of_close_thresholds_do_not_overlap(calibration: Calibration, far: float) -> None:
    """Where all thresholds lie at one end of the panel their labels are moved apart, and stay above it."""
    drawn = figure(a_manifest(), calibration, OWN, {"far": scored(np.full(300, far))})
    drawn.draw_without_rendering()
    panel = drawn.axes[0].get_window_extent()
    # Text's own: an annotation's has its arrow in it.
    boxes = [Text.get_window_extent(text) for text in drawn.axes[0].texts if text.get_text().startswith("TPR")]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(panel.x0 < (box.x0 + box.x1) / 2 <= panel.x1 for box in boxes)


def test_scores_that_are_all_the_same_are_drawn(calibration: Calibration) -> None:
    """No width is left to divide by."""
    same = calibration.model_copy(update={"threshold": -0.5, "operating_points": []})
    assert draw(a_manifest(), same, scored(np.full(60, -0.5)), {"s": scored(np.full(3, -0.5))})
