"""What a body of the protocol may look like, and what is refused with which sentence."""

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest

from service.bundle import InputSpec
from service.errors import BodyTooLarge, EmptyBody, InputError, MalformedBody, WrongFields
from service.http.v2.tensors_in import MAX_JSON_VALUES, parse, pictures

SPEC = InputSpec(height=2, width=1)
PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 1, 3)


def body(binary: bytes | None = None, **tensor: Any) -> tuple[bytes, str | None]:
    """Return the body of a request with one tensor, and the size of its JSON where *binary* bytes follow it."""
    if binary is not None:
        tensor["parameters"] = {"binary_data_size": len(binary)} | tensor.get("parameters", {})
    header = json.dumps({"inputs": [{"name": "images", **tensor}]}).encode()
    return (header, None) if binary is None else (header + binary, str(len(header)))


def read(content: bytes, json_size: str | None = None, max_images: int = 4) -> list[Any]:
    return list(pictures(parse(content, json_size), SPEC, max_images))


def elements(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


@pytest.mark.parametrize("shape", [[2], [2, 1]])
@pytest.mark.parametrize("nested", [False, True])
def test_base64_in_json_is_bytes(shape: list[int], nested: bool) -> None:
    """Any bytes travel, flat or nested as the shape is."""
    texts = [base64.b64encode(item).decode() for item in (b"\xff\xd8\x00", b"")]
    data = [[text] for text in texts] if nested else texts
    assert read(*body(datatype="BYTES", shape=shape, data=data)) == [b"\xff\xd8\x00", b""]


def test_binary_elements_are_bytes_as_they_are() -> None:
    """Each is a length and as many bytes; nothing in them has a meaning."""
    items = [b'{"inputs": []}', b"", b"\x00" * 9]
    assert read(*body(elements(*items), datatype="BYTES", shape=[3])) == items


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.reshape(-1).tolist(), None])
def test_pixels_come_in_row_major_order(data: Any) -> None:
    """Nested, flat and binary are one and the same."""
    tensor = {"datatype": "UINT8", "shape": [2, 2, 1, 3]}
    sent = body(PIXELS.tobytes(), **tensor) if data is None else body(data=data, **tensor)
    np.testing.assert_array_equal(np.stack(read(*sent)), PIXELS)


@pytest.mark.parametrize(
    ("tensor", "error"),
    [
        ({"datatype": "FP32", "shape": [1], "data": [1.0]}, WrongFields),
        ({"datatype": "BYTES", "shape": [1, 2], "data": ["", ""]}, WrongFields),
        ({"datatype": "BYTES", "shape": [2], "data": [""]}, WrongFields),
        ({"datatype": "BYTES", "shape": [1]}, WrongFields),
        ({"datatype": "BYTES", "shape": [1], "data": "AAAA"}, WrongFields),
        ({"datatype": "BYTES", "shape": [1], "data": ["no base64"]}, MalformedBody),
        ({"datatype": "BYTES", "shape": [1], "data": ["\u00e9"]}, MalformedBody),
        ({"datatype": "BYTES", "shape": [1], "data": [7]}, MalformedBody),
        ({"datatype": "BYTES", "shape": [0], "data": []}, EmptyBody),
        ({"datatype": "BYTES", "shape": [], "data": []}, EmptyBody),
        ({"datatype": "BYTES", "shape": [5], "data": [""] * 5}, BodyTooLarge),
        ({"datatype": "BYTES", "shape": [-1], "data": [""]}, WrongFields),
        ({"datatype": "BYTES", "shape": [2**64], "data": [""]}, WrongFields),
        ({"datatype": "BYTES", "shape": [1], "data": [""], "parameters": {"binary_data_size": 0}}, WrongFields),
        ({"datatype": "BYTES", "shape": [1], "parameters": {"shared_memory_region": "a"}}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [0] * 6}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [0] * 5}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [0] * 5 + [256]}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [0] * 5 + [-1]}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [0] * 5 + [10**30]}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [0] * 5 + [1.0]}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [0] * 5 + ["1"]}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [[0], 1, 2, 3, 4, 5]}, WrongFields),
        ({"datatype": "UINT8", "shape": [1, 2, 1, 3], "data": 6}, WrongFields),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(tensor: dict[str, Any], error: type[InputError]) -> None:
    """Each with an error of the native table, and none as a picture."""
    with pytest.raises(error):
        read(*body(**tensor))


@pytest.mark.parametrize(
    ("binary", "tensor"),
    [
        (elements(b"abc")[:-1], {"datatype": "BYTES", "shape": [1]}),
        (elements(b"abc")[:3], {"datatype": "BYTES", "shape": [1]}),
        (b"\xff\xff\xff\xffabc", {"datatype": "BYTES", "shape": [1]}),
        (elements(b"abc"), {"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 2}}),
        (elements(b"abc"), {"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": "7"}}),
    ],
)
def test_binary_data_that_is_cut_off_is_malformed(binary: bytes, tensor: dict[str, Any]) -> None:
    """No length leads beyond the bytes that are there."""
    with pytest.raises(MalformedBody):
        read(*body(binary, **tensor))


def test_bytes_that_no_tensor_claims_are_refused() -> None:
    """What stands behind the JSON belongs to the input, or the request is not understood."""
    header, _ = body(datatype="BYTES", shape=[1], data=[""])
    with pytest.raises(WrongFields):
        read(header + b"more", str(len(header)))


@pytest.mark.parametrize("json_size", ["-1", "1e3", "", "99999", "0x10", "\u0663", "9" * 5000])
def test_a_size_that_is_none_is_malformed(json_size: str) -> None:
    """The header is a number of bytes within the body."""
    with pytest.raises(MalformedBody):
        read(*(body(datatype="BYTES", shape=[1], data=[""])[0], json_size))


@pytest.mark.parametrize("content", [b"", b"no JSON", b"\x1f\x8b", b"[" * 100_000, b'{"inputs": [', b"\xff"])
def test_what_is_no_json_is_malformed(content: bytes) -> None:
    """However deep it is nested."""
    with pytest.raises(MalformedBody):
        read(content)


@pytest.mark.parametrize(
    "content", [b"[]", b"7", b"{}", b'{"inputs": {}}', b'{"inputs": [], "id": 7}', b'{"inputs": []}']
)
def test_json_of_another_shape_has_wrong_fields(content: bytes) -> None:
    """The field is named, and nothing of the caller's is repeated."""
    with pytest.raises(WrongFields):
        read(content)


def test_an_error_repeats_nothing_of_the_callers() -> None:
    """Neither values nor names of their making."""
    request = {"inputs": [{"name": "images", "shape": ["<script>"], "datatype": "BYTES", "parameters": "<script>"}]}
    with pytest.raises(WrongFields) as refusal:
        read(json.dumps(request).encode())
    assert "script" not in str(refusal.value)


def test_json_of_too_many_values_is_not_parsed() -> None:
    """Parsing would stop the event loop; the remedy is named."""
    content, _ = body(datatype="UINT8", shape=[1, 2, 1, 3], data=[0] * (MAX_JSON_VALUES + 1))
    with pytest.raises(BodyTooLarge, match="binary"):
        read(content)


def test_null_is_as_good_as_nothing() -> None:
    """Clients that write every field they know are understood."""
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": ["AAAA"], "parameters": None}
    request = {"id": None, "parameters": None, "outputs": None, "inputs": [tensor], "model_name": "x"}
    assert read(json.dumps(request).encode()) == [b"\0\0\0"]
