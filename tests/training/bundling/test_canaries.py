"""Canary pictures: what they exercise, and that the most telling candidates are taken."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.bundle import InputSpec
from training.bundling import canaries
from training.bundling.canaries import canary_pictures, mosaic, pixels_of, right_and_wrong, telling

SIDE = 32
SPEC = InputSpec(height=SIDE, width=SIDE)

Outputs = dict[str, NDArray[np.float64]]


def contrast(pixels: NDArray[np.uint8]) -> Outputs:
    """A model of one group that answers with the contrast of its image, and of two classes far from each other."""
    others_scores = pixels.std(axis=(1, 2, 3))[:, None] / 255
    return {"others_scores": others_scores, "topk_probability": np.full((len(pixels), 2), [0.9, 0.1])}


def an_answer(others_scores: list[float], top: list[float]) -> Outputs:
    """Return the outputs of one group for the right view and the wrong ones, with the same classes for all."""
    return {"others_scores": np.array(others_scores)[:, None], "topk_probability": np.array([top] * len(others_scores))}


@pytest.mark.parametrize("side", [32, 100])
def test_every_file_exercises_a_rule_of_the_preprocessing(side: int) -> None:
    """One is turned, one is partly transparent, and all are larger than the input, so that filters differ."""
    opened = {
        name: Image.open(io.BytesIO(encoded), formats=[name.partition(".")[2].replace("jpg", "jpeg")])
        for name, encoded in canary_pictures(contrast, InputSpec(height=side, width=side)).items()
    }
    assert opened["turned.jpg"].getexif()[canaries.ORIENTATION_TAG] == canaries.TURNED_RIGHT
    assert opened["alpha.png"].getchannel("A").getextrema() == (60, 255)
    assert opened["noise.webp"].mode == "RGB"
    assert {picture.size for picture in opened.values()} == {(3 * side, 2 * side)}


def test_the_same_model_gets_the_same_pictures() -> None:
    """Exporting twice gives the same bundle."""
    assert canary_pictures(contrast, SPEC) == canary_pictures(contrast, SPEC)


def test_a_jpeg_is_reduced_where_the_model_has_it_so() -> None:
    """Then it is twice as large, so that its canary is decoded as large pictures are; the others stay as they are."""
    reduced = SPEC.model_copy(update={"jpeg_scale": "reduced"})
    usual, larger = canary_pictures(contrast, SPEC), canary_pictures(contrast, reduced)
    assert [name for name in usual if usual[name] != larger[name]] == ["turned.jpg"]
    full, seen = (pixels_of(larger["turned.jpg"], spec) for spec in (SPEC, reduced))
    assert (full != seen).any()


def test_no_two_files_hold_the_same_mosaic() -> None:
    """Answers that are dealt to the wrong pictures would else agree."""
    turned, cut_out, plain = (Image.open(io.BytesIO(one)) for one in canary_pictures(contrast, SPEC).values())
    assert len({picture.convert("RGB").resize((3, 3)).tobytes() for picture in (turned, cut_out, plain)}) == 3


def test_the_most_telling_candidate_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the WebP's mosaics none tells more than the one in the bundle."""
    chosen = canary_pictures(contrast, SPEC)["noise.webp"]
    last = range(2 * canaries.CANDIDATES, 3 * canaries.CANDIDATES)
    told = [telling(contrast(right_and_wrong(canaries._plain(mosaic(seed, SIDE)), SPEC))) for seed in last]
    assert telling(contrast(right_and_wrong(chosen, SPEC))) == max(told) > min(told)


def test_the_filter_that_moves_least_says_how_telling_a_picture_is() -> None:
    """One that one wrong filter leaves as it is tells nothing of that filter."""
    assert telling(an_answer([0.5, 0.9, 0.4], top=[0.6, 0.1])) == pytest.approx(0.1)
    assert telling(an_answer([0.5, 0.9, 0.5], top=[0.6, 0.1])) == 0


def test_a_class_near_a_border_tells_little() -> None:
    """Rounding might change it though nothing is wrong; a model of one class has no border."""
    assert telling(an_answer([0.5, 0.9, 0.1], top=[0.31, 0.3])) == pytest.approx(0.01)
    assert telling(an_answer([0.5, 0.9, 0.1], top=[0.3])) == pytest.approx(0.3)


def test_every_wrong_filter_gives_other_pixels() -> None:
    """The first view is the service's; each other is of another filter, bilinear without antialiasing among them."""
    right, *wrong = right_and_wrong(canaries._plain(mosaic(0, SIDE)), SPEC)
    assert right.shape == (SIDE, SIDE, 3)
    assert len(wrong) >= 6
    assert all(np.abs(view.astype(int) - right).mean() > 1 for view in wrong)
