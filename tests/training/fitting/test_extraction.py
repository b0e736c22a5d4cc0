"""The feature cache: once, resumable, shared by processes, and only ever of what it says."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training import __main__ as cli
from training.data.pixels import Pictures, read_rows
from training.data.sets import DataSet, read_data_set
from training.errors import DataError
from training.fitting import extraction as module
from training.fitting.extraction import Views, cached_features, class_means, extract, extract_all
from training.fitting.feature_cache import CHUNK, DONE_NAME, KEY_NAME, VIEWS_NAME
from training.model.backbone import Backbone
from training.model.backbones import backbone
from training.model.onnx_graph import fold

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def extractor() -> Backbone:
    """A small backbone with weights that never change."""
    torch.manual_seed(1)
    return backbone("R11-tiny").eval()


@pytest.fixture(scope="module")
def data(demo_data: dict[str, Path]) -> DataSet:
    """The generated pictures."""
    return read_data_set(demo_data["train"])


def test_view_0_is_the_picture_and_view_1_its_mirror_image(extractor: Backbone, data: DataSet, tmp_path: Path) -> None:
    """The cache holds what the backbone says of those pictures."""
    cache = cached_features(tmp_path, extractor, Pictures(data), 16, Views(2))
    assert cache.shape == (2, len(data), extractor.feature_size)
    # As served, with weights rounded to float16; a backbone that is being fitted is run as it is.
    served = extract_all(fold(extractor), Pictures(data), 16).numpy()
    np.testing.assert_allclose(cache[0], served, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cache[0], extract_all(extractor, Pictures(data), 16).numpy(), atol=0.02)
    some = np.array([3, 30, 60])
    mirrored = torch.from_numpy(read_rows(data, some, height=16, width=16)).flip(2)
    with torch.no_grad():
        expected = fold(extractor)((mirrored.float() / 127.5 - 1).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(cache[1][some], expected, rtol=1e-4, atol=1e-5)


def test_further_views_are_augmented_and_repeat_with_the_seed(
    extractor: Backbone, data: DataSet, tmp_path: Path
) -> None:
    """View 2 differs from the picture, and from itself under another seed only."""
    one, again, other = (
        np.array(cached_features(tmp_path / name, extractor, Pictures(data), 16, Views(3, None, "standard", seed))[2])
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    assert (one == again).all()
    assert (one != other).any(axis=1).mean() > 0.9


def test_a_finished_cache_is_not_computed_again(
    extractor: Backbone, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call reads; the backbone does not run."""
    first = np.array(cached_features(tmp_path, extractor, Pictures(data), 16))
    monkeypatch.setattr(module, "extractor", None)
    assert (cached_features(tmp_path, extractor, Pictures(data), 16) == first).all()


def test_an_interrupted_extraction_goes_on_where_it_stopped(
    extractor: Backbone, demo_data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the chunks that were not ticked off are computed, and the result is that of one go."""
    data = read_data_set(demo_data["train"])
    data = data.select(np.tile(np.arange(len(data)), 3))  # several chunks
    whole = np.array(cached_features(tmp_path / "whole", extractor, Pictures(data), 16))
    by_torch, runs = module._as_it_is, []

    def stopping_at_second(backbone: Backbone, bf16: bool) -> module.Extractor:
        run = by_torch(backbone, bf16)

        def stop_at_second(images: torch.Tensor) -> NDArray[np.float32]:
            runs.append(len(images))
            if len(runs) == 2:
                raise KeyboardInterrupt
            return run(images)

        return stop_at_second

    monkeypatch.setattr(module, "_as_it_is", stopping_at_second)
    with pytest.raises(KeyboardInterrupt):
        cached_features(tmp_path / "cut", extractor, Pictures(data), 16)
    resumed: NDArray[np.float32] = cached_features(tmp_path / "cut", extractor, Pictures(data), 16)
    assert (resumed == whole).all()
    assert len(runs) == 1 + -(-len(data) // CHUNK)
    assert np.load(tmp_path / "cut" / DONE_NAME).all()


def test_a_cache_of_something_else_is_refused(extractor: Backbone, data: DataSet, tmp_path: Path) -> None:
    """Other data, size, views, weights or another scale of JPEGs make other features; the sentence names the folder."""
    cached_features(tmp_path, extractor, Pictures(data), 16)
    for change in (
        {"side": 24},
        {"views": Views(2)},
        {"half": True},
        {"bf16": True},
        {"pictures": Pictures(data.select(np.arange(5)))},
        {"pictures": Pictures(data, "reduced")},
        {"backbone": backbone("R11-tiny")},
    ):
        arguments = {"folder": tmp_path, "backbone": extractor, "pictures": Pictures(data), "side": 16} | change
        with pytest.raises(DataError, match=str(tmp_path)):
            cached_features(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("views", [Views(3, 24), Views(3, None, "flip"), Views(3, None, "none", 1)])
def test_a_cache_of_other_augmented_views_is_refused(
    extractor: Backbone, data: DataSet, tmp_path: Path, views: Views
) -> None:
    """From the third view on the crop, the augmentation and the seed count; before, they change nothing."""
    cached_features(tmp_path / "three", extractor, Pictures(data), 16, Views(3))
    with pytest.raises(DataError, match="three"):
        cached_features(tmp_path / "three", extractor, Pictures(data), 16, views)
    two = np.array(cached_features(tmp_path / "two", extractor, Pictures(data), 16, Views(2)))
    assert (cached_features(tmp_path / "two", extractor, Pictures(data), 16, replace(views, count=2)) == two).all()


def test_each_augmented_view_draws_its_own(extractor: Backbone, data: DataSet, tmp_path: Path) -> None:
    """Or more views would be the same ones again."""
    views = cached_features(tmp_path, extractor, Pictures(data), 16, Views(4, None, "standard"))
    assert (views[2] != views[3]).any(axis=1).mean() > 0.9


def test_a_full_disk_is_one_sentence_and_leaves_no_cache(
    extractor: Backbone, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space is claimed before the first feature, so that a memory map never hits the end of the disk."""

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match=r"No space left.*free space"):
            cached_features(tmp_path / "cache", extractor, Pictures(data), 16)
    assert not (tmp_path / "cache" / VIEWS_NAME).exists()
    assert cached_features(tmp_path / "cache", extractor, Pictures(data), 16).any()


@pytest.mark.e2e
def test_two_processes_extract_what_one_extracts(
    finished_run: Path, demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """torchrun shares the chunks out; the files are the same."""
    command = ["features", "--data", str(demo_data["train"]), "--weights", str(finished_run / "network.pt")]
    command += ["--backbone", "R11-tiny", "--size", "32", "--out"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = [*torchrun, "-m", "training", *command, str(tmp_path / "two")]
    subprocess.run(two, check=True, capture_output=True, timeout=240)
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, str(tmp_path / "one")])
    assert not ended.value.code
    one, two = (np.load(tmp_path / name / VIEWS_NAME) for name in ("one", "two"))
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
    keys = [json.loads((tmp_path / name / KEY_NAME).read_text()) for name in ("one", "two")]
    assert keys[0] == keys[1]


def test_features_may_be_kept_in_half_the_room(extractor: Backbone, data: DataSet, tmp_path: Path) -> None:
    """float16 on the disk, the same numbers to its three digits."""
    whole = cached_features(tmp_path / "whole", extractor, Pictures(data), 16)
    half = cached_features(tmp_path / "half", extractor, Pictures(data), 16, half=True)
    assert (whole.dtype, half.dtype) == (np.float32, np.float16)
    np.testing.assert_allclose(half.astype(np.float32), whole, rtol=1e-3, atol=1e-4)


def test_worker_processes_change_nothing(extractor: Backbone, data: DataSet, tmp_path: Path) -> None:
    """All views of all pictures, whoever decodes them."""
    data = data.select(np.tile(np.arange(len(data)), 3))  # several chunks
    views = Views(3, 24, "strong", 5)
    here, workers = (
        cached_features(tmp_path / str(count), extractor, Pictures(data), 16, views, workers=count) for count in (0, 2)
    )
    np.testing.assert_array_equal(here, workers)


def test_a_view_is_not_the_same_for_every_chunk(extractor: Backbone, data: DataSet, tmp_path: Path) -> None:
    """Each chunk draws its own augmentation."""
    data = data.select(np.zeros(2 * CHUNK, np.int64))  # one picture over and over
    view = cached_features(tmp_path, extractor, Pictures(data), 16, Views(3, None, "standard"))[2]
    assert (view[:CHUNK] != view[CHUNK:]).any(axis=1).mean() > 0.9


def test_class_means_need_no_more_than_a_chunk(extractor: Backbone, data: DataSet) -> None:
    """The means of the features, summed as they come."""
    features = extract_all(extractor, Pictures(data), 16).numpy()
    expected = np.stack([features[data.labels == label].mean(axis=0) for label in range(len(data.classes))])
    means = class_means(extract(extractor, Pictures(data), 16), data.labels, len(data.classes))
    np.testing.assert_allclose(means, expected, rtol=1e-5, atol=1e-6)


def test_many_pictures_go_through_the_graph_that_is_served(extractor: Backbone) -> None:
    """ONNX Runtime and torch give the same features of the folded backbone."""
    images = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    by_runtime = module.extractor(extractor, 16, module.WORTH_AN_EXPORT)(images)
    by_torch = module.extractor(extractor, 16, 1)(images)
    np.testing.assert_allclose(by_runtime, by_torch, rtol=1e-3, atol=1e-4)


def test_the_sign_of_a_zero_makes_no_other_weights() -> None:
    """Averaging weights turns -0 into 0; a run's own cache must still be its own."""
    extractor = backbone("R11-tiny")
    weight = next(extractor.parameters()).data
    hashes = []
    for zero in (0.0, -0.0, 1e-3):
        weight.view(-1)[0] = zero
        hashes.append(extractor.sha256())
    assert hashes[0] == hashes[1] != hashes[2]
