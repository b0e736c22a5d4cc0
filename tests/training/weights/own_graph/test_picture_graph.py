"""Which axes of a graph's features are places in the picture."""

import pytest
from onnx import TensorProto

from training.weights.own_graph.picture_graph import spatial_axes
from training.weights.own_graph.picture_input import PictureInput


@pytest.mark.parametrize(
    ("shape", "layout", "axes"),
    [
        ((3, 1280), "NCHW", ()),
        ((3, 6, 12, 12), "NCHW", (2, 3)),
        ((3, 12, 12, 6), "NCHW", (1, 2)),
        ((3, 6, 12, 12), "NHWC", (2, 3)),
        ((3, 7, 7, 7), "NCHW", (2, 3)),
        ((3, 7, 7, 7), "NHWC", (1, 2)),
    ],
)
def test_maps_are_told_by_their_square_and_then_by_the_pictures_layout(
    shape: tuple[int, ...], layout: str, axes: tuple[int, ...]
) -> None:
    """Square pictures have square maps; as many channels as rows leave both."""
    assert spatial_axes(shape, PictureInput("pictures", layout, TensorProto.FLOAT, 16, None)) == axes
