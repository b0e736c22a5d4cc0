"""Numbers as people write them."""

from pathlib import Path

import pytest

from training.errors import SettingError
from training.weights.own_graph.normalisation import channels, normalisation


def test_one_number_stands_for_three_and_may_be_a_fraction() -> None:
    """As torchvision's shares of 255, exactly."""
    assert channels("mean", "0.485, 0.456,0.406") == (0.485, 0.456, 0.406)
    assert channels("std", "128/255") == (128 / 255,) * 3
    assert channels("mean", None) is None


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("mean", "127", "such as 127/255"),
        ("std", "58.4,57.1,57.4", r"such as 58\.4/255"),
        ("std", "0", "write shares of 255"),
        ("mean", "0.5,0.5", "write one number, or three"),
        ("mean", "half", "write one number, or three"),
        ("std", "1/0", "write one number, or three"),
    ],
)
def test_what_is_no_share_of_255_is_one_sentence(option: str, text: str, sentence: str) -> None:
    """Pixel values are told from shares, with the same number as one."""
    with pytest.raises(SettingError, match=sentence):
        channels(option, text)


def test_a_mean_alone_is_half_a_normalisation() -> None:
    """Which deviation goes with it cannot be known."""
    with pytest.raises(SettingError, match="--mean and --std go together"):
        normalisation((0.5,) * 3, None, Path("own.onnx"))
