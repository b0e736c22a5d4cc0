"""How a graph takes its pictures: which input, in what layout and type, how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx import GraphProto, TensorProto, ValueInfoProto

from training.errors import GraphError

COLOURS = 3
TYPES: dict[int, str] = {
    TensorProto.UINT8: "uint8",
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
}


@dataclass(frozen=True)
class PictureInput:
    """A graph's one input, (N, 3, H, W) or (N, H, W, 3)."""

    name: str
    layout: Literal["NCHW", "NHWC"]
    type: int  # of `TYPES`
    side: int  # pixels
    batch: int | None  # None where any number of pictures goes

    @property
    def takes_pixels(self) -> bool:
        """Whether it takes pixels as they are, and normalises them itself."""
        return self.type == TensorProto.UINT8

    def __str__(self) -> str:
        return f"{TYPES[self.type]} {self.layout} of {self.side} x {self.side} pixels"


def picture_input(graph: GraphProto, side: int | None) -> PictureInput:
    """The input of a graph for pictures of `side`, which only a graph that takes any must be told.

    Raises GraphError for a graph that does not take colour pictures alone, or pictures of another side.
    """
    value = _only_input(graph)
    tensor = value.type.tensor_type
    if tensor.elem_type not in TYPES:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise GraphError(f"its input {value.name} is {kind}; export it to take {', '.join(TYPES.values())}.")
    batch, *of_picture = (dim.dim_value or None for dim in tensor.shape.dim)
    layout = _layout(value.name, of_picture)
    height, width = of_picture[1:] if layout == "NCHW" else of_picture[:2]
    if height != width:
        raise GraphError(
            f"it takes pictures of {height or 'any'} x {width or 'any'} pixels; export it for squares, to which "
            "pictures are brought here."
        )
    if height is None and side is None:
        raise GraphError("it takes pictures of any side; give --size, the side in pixels that it was trained for.")
    if height is not None and side not in (None, height):
        raise GraphError(f"it takes pictures of {height} x {height} pixels alone; leave out --size.")
    chosen = height or side
    assert chosen is not None, "one of the two is known. This is a bug."
    return PictureInput(value.name, layout, tensor.elem_type, chosen, batch)


def _only_input(graph: GraphProto) -> ValueInfoProto:
    constants = {tensor.name for tensor in graph.initializer}
    inputs: list[ValueInfoProto] = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        found = ", ".join(f"{value.name} {shape_text(value)}" for value in inputs) or "none"
        raise GraphError(f"its inputs are {found}; export it with one, pictures (N, 3, H, W) or (N, H, W, 3).")
    [value] = inputs
    return value


def shape_text(value: ValueInfoProto) -> str:
    """A value's shape for a sentence, dimensions that vary by their names."""
    dims = [str(dim.dim_value or dim.dim_param or "?") for dim in value.type.tensor_type.shape.dim]
    return f"({', '.join(dims)})"


def _layout(name: str, of_picture: list[int | None]) -> Literal["NCHW", "NHWC"]:
    first, last = of_picture[0] == COLOURS, of_picture[2] == COLOURS
    if first == last:
        raise GraphError(
            f"its input {name} does not say which dimension holds the three colours; export it with that one fixed to "
            "3, second or last."
        )
    return "NCHW" if first else "NHWC"
