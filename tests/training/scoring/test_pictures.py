"""Pictures to the outputs of a bundle's model: by the bundle's own preprocessing."""

from pathlib import Path

import numpy as np
import pytest

from service.preprocess import JpegScale, decode
from service.verdict import Verdict
from tests.tiny_bundle import SIZE_PIXELS, rough_jpeg, write_tiny_bundle
from training.data.sets import read_pictures
from training.scoring.judging import LocalJudge, Picture
from training.scoring.pictures import score_pictures
from training.scoring.session import Session


@pytest.mark.parametrize("jpeg_scale", ["full", "reduced"])
def test_jpegs_are_scored_at_the_bundles_scale(tmp_path: Path, jpeg_scale: JpegScale) -> None:
    """One by one and a folder at a time; what a scale leaves out is seen in the score."""
    bundle = write_tiny_bundle(tmp_path / "bundle", jpeg_scale=jpeg_scale)
    jpegs = [rough_jpeg(seed) for seed in range(3)]
    (tmp_path / "pictures").mkdir()
    for place, jpeg in enumerate(jpegs):
        (tmp_path / "pictures" / f"{place}.jpg").write_bytes(jpeg)
    session = Session(bundle.model_path.read_bytes())

    def scores_at(scale: JpegScale) -> list[float]:
        pixels = [decode(jpeg, height=SIZE_PIXELS, width=SIZE_PIXELS, jpeg_scale=scale) for jpeg in jpegs]
        return session.run(np.stack(pixels), ["score"])["score"].tolist()

    assert scores_at("full") != pytest.approx(scores_at("reduced"), abs=1e-5)
    scored = score_pictures(bundle, read_pictures(tmp_path / "pictures"), ["score"])["score"]
    assert scored.tolist() == pytest.approx(scores_at(jpeg_scale), abs=1e-6)
    pictures = [Picture(str(place), jpeg) for place, jpeg in enumerate(jpegs)]
    verdicts = [verdict for _, verdict in LocalJudge(bundle).judge(pictures) if isinstance(verdict, Verdict)]
    assert [verdict.score for verdict in verdicts] == pytest.approx(scores_at(jpeg_scale), abs=1e-6)
