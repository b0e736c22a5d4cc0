"""`detectors.npz`: what is read back is what was fitted, and what cannot be read says so."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.detectors.conftest import pictures
from training.detectors import DETECTORS, FitData, Head
from training.detectors.fitted import FILE_NAME, detectors_file, fit_statistics, read_detectors
from training.errors import DataError

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def data() -> FitData:
    """Clusters by class, seven classes of 24 features."""
    random = np.random.default_rng(1)
    weight = random.normal(0, 0.5, (7, 24)).astype(np.float32)
    head = Head(weight, random.normal(0, 0.3, 7).astype(np.float32))
    return FitData(*pictures(head, 200, seed=2), *pictures(head, 100, seed=3))


@pytest.fixture
def bundle(data: FitData, tmp_path: Path) -> Path:
    """A folder with the file in it."""
    (tmp_path / FILE_NAME).write_bytes(detectors_file(data.train.head, fit_statistics(data)))
    return tmp_path


def test_every_detector_scores_the_same_from_the_file(data: FitData, bundle: Path) -> None:
    """Statistics come back bit for bit, since fitting rounds to what is stored; scores differ by rounding at most."""
    head, statistics = read_detectors(bundle, DETECTORS)
    fitted = fit_statistics(data)
    seen, _ = pictures(head, 20, seed=4)
    assert np.array_equal(head.weight, data.train.head.weight)
    assert np.array_equal(head.bias, data.train.head.bias)
    for name, entry in DETECTORS.items():
        own = {key.partition("/")[2]: value for key, value in fitted.items() if key.startswith(f"{name}/")}
        assert {key: (value.dtype, value.tobytes()) for key, value in statistics[name].items()} == {
            key: (value.dtype, value.tobytes()) for key, value in own.items()
        }, name
        assert entry.score(seen, statistics[name]) == pytest.approx(entry.score(seen, own), rel=1e-5, abs=1e-5), name


def test_keys_are_the_flat_head_and_detector_slash_name(bundle: Path) -> None:
    """The file's layout, which other tools may read."""
    with np.load(bundle / FILE_NAME, allow_pickle=False) as saved:
        assert {"flat_weight", "flat_bias", "vim/null_space", "mahalanobis/means", "knn/bank"} <= set(saved)
        assert {key.partition("/")[0] for key in saved if "/" in key} == {
            name for name, entry in DETECTORS.items() if entry.fit
        }


def test_what_two_detectors_share_is_stored_once(data: FitData, bundle: Path) -> None:
    """ViM's null space is the largest array of the file, and MOS with the residual has the same one."""
    with np.load(bundle / FILE_NAME, allow_pickle=False) as saved:
        assert str(saved["mos_residual/null_space"]) == "vim/null_space"
    _, statistics = read_detectors(bundle)
    assert np.array_equal(statistics["mos_residual"]["null_space"], statistics["vim"]["null_space"])


def test_a_detector_that_fits_nothing_has_an_empty_entry(bundle: Path) -> None:
    """So that every detector can be asked for."""
    assert read_detectors(bundle)[1]["msp"] == {}


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    """As for a bundle that was exported without it."""
    with pytest.raises(DataError, match=r"detectors\.npz is missing.*export the bundle again"):
        read_detectors(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:500], lambda data: b"no archive", lambda data: b""])
def test_a_damaged_file_is_named_with_the_remedy(bundle: Path, damage: Callable[[bytes], bytes]) -> None:
    """Cut off, something else, or empty."""
    file = bundle / FILE_NAME
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"detectors\.npz cannot be read.*export the bundle again"):
        read_detectors(bundle)


def test_a_changed_byte_is_found(bundle: Path) -> None:
    """The archive's checksums are checked."""
    file = bundle / FILE_NAME
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"detectors\.npz cannot be read"):
        read_detectors(bundle)


def test_a_file_without_the_flat_head_is_refused(bundle: Path) -> None:
    """Everything else is read off it."""
    buffer = io.BytesIO()
    np.savez(buffer, bias=np.zeros(3))
    (bundle / FILE_NAME).write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="has no flat head"):
        read_detectors(bundle)


def test_statistics_that_are_asked_for_and_lacking_are_named(data: FitData, bundle: Path) -> None:
    """A file with the flat head alone serves MSP and Energy, and says so for ViM."""
    (bundle / FILE_NAME).write_bytes(detectors_file(data.train.head, {}))
    assert read_detectors(bundle, ["msp", "energy"])[1]["energy"] == {}
    with pytest.raises(DataError, match=r"no statistics for vim; export the bundle again, or leave vim out"):
        read_detectors(bundle, ["msp", "vim"])


def test_nothing_to_fit_on_is_an_error(data: FitData) -> None:
    """Both sets are needed, and the sentence says which is empty."""
    empty, no_labels = pictures(data.train.head, 0, seed=0)
    with pytest.raises(DataError, match="no held-out pictures"):
        fit_statistics(replace(data, held_out=empty, held_out_labels=no_labels))
    with pytest.raises(DataError, match="no training pictures"):
        fit_statistics(replace(data, train=empty, train_labels=no_labels))
