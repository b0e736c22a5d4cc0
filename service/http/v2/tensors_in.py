"""A body of the protocol to the pictures in it: JSON, followed by binary tensors where the request says so.

There is one input, `images`, in one of two types:

- BYTES, shape (N,) or (N, 1): encoded pictures, as /predict takes them. In JSON each is a base64 string, since JSON has
  no bytes; in a binary tensor each is its length, four bytes little-endian, and then its bytes.
- UINT8, shape (N, H, W, 3): pixels of the model's own size, RGB. Whoever decodes and resizes answers for doing it as
  the calibration did.
"""

import binascii
import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from service.bundle import InputSpec
from service.errors import BodyTooLarge, EmptyBody, MalformedBody, WrongFields
from service.http.v2.schemas import INPUT, InferRequest, RequestedInput
from service.inference.pipeline import Image

# JSON is parsed between two turns of the event loop, where nobody is served: a million values take some 50 ms. A list
# costs as much as eight of them, and an object far more, of which no request needs many.
MAX_JSON_VALUES = 2**20
_VALUES_PER_LIST = 8
MAX_JSON_MEMBERS = 4096
_LENGTH = struct.Struct("<I")


class Parsed(NamedTuple):
    """What a body asks for, and the bytes of its binary tensors."""

    request: InferRequest
    binary: bytes


def parse(content: bytes, json_size: str | None) -> Parsed:
    """Take a body apart; *json_size* is its header Inference-Header-Content-Length, where it has one.

    Raises MalformedBody, BodyTooLarge for JSON of too many values, or WrongFields.
    """
    end = len(content) if json_size is None else _json_end(json_size, len(content))
    header = content[:end]
    if header.count(b",") + _VALUES_PER_LIST * header.count(b"[") > MAX_JSON_VALUES:
        raise BodyTooLarge(f"The JSON has more than {MAX_JSON_VALUES} values; send the tensor as binary data.")
    if header.count(b"{") + header.count(b":") > MAX_JSON_MEMBERS:
        raise BodyTooLarge(f"The JSON has objects of more than {MAX_JSON_MEMBERS} members; leave out what has no use.")
    try:
        request = InferRequest.model_validate_json(header, strict=True)
    except ValidationError as error:
        [fault, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        if fault["type"] == "json_invalid":
            raise MalformedBody(
                "The body does not begin with sound JSON; send that first, and its size as "
                "Inference-Header-Content-Length where binary tensors follow it."
            ) from error
        known = [str(name) for name in fault["loc"][:3]]  # what follows may be of the caller's making
        where = f"The field `{'.'.join(known)}`" if known else "The request"
        raise WrongFields(f"{where} is wrong: {fault['msg']}; /docs has an example.") from error
    return Parsed(request, content[end:])


def pictures(parsed: Parsed, spec: InputSpec, max_images: int) -> Sequence[bytes | Image]:
    """Return the pictures of a request, encoded or uint8 (H, W, 3), in order.

    Raises EmptyBody, BodyTooLarge for more than *max_images*, MalformedBody or WrongFields.
    """
    if [tensor.name for tensor in parsed.request.inputs] != [INPUT]:
        raise WrongFields(f"The model has one input, `{INPUT}`; send that and no other.")
    [tensor] = parsed.request.inputs
    count = tensor.shape[0] if tensor.shape else 0
    if count == 0:
        raise EmptyBody(f"The input `{INPUT}` holds no image; send at least one.")
    if count > max_images:
        raise BodyTooLarge(f"The input `{INPUT}` holds {count} images; send at most {max_images} at a time.")
    if tensor.datatype == "BYTES":
        return _encoded(tensor, parsed.binary)
    if tensor.datatype == "UINT8":
        return _pixels(tensor, parsed.binary, (count, spec.height, spec.width, 3))
    raise WrongFields(f"The input `{INPUT}` is of neither type BYTES nor UINT8; send encoded images, or pixels.")


def _json_end(json_size: str, body_bytes: int) -> int:
    if not (json_size.isascii() and json_size.isdigit() and len(json_size) < 20 and int(json_size) <= body_bytes):
        raise MalformedBody("Inference-Header-Content-Length is no size within the body; send that of the JSON.")
    return int(json_size)


def _encoded(tensor: RequestedInput, binary: bytes) -> list[bytes]:
    """Return the encoded pictures of a BYTES tensor of shape (N,) or (N, 1)."""
    if tensor.shape[1:] not in ([], [1]):
        raise WrongFields(f"The input `{INPUT}` of type BYTES has a wrong shape; send [N] or [N, 1].")
    count, is_binary = tensor.shape[0], _is_binary(tensor, binary)
    elements = _elements(binary, most=count) if is_binary else _flat(tensor.data)
    if len(elements) != count:
        raise _wrong_count()
    return elements if is_binary else [_from_base64(text, index) for index, text in enumerate(elements)]


def _pixels(tensor: RequestedInput, binary: bytes, shape: tuple[int, ...]) -> Sequence[Image]:
    """Return the pictures of a UINT8 tensor, which must be of *shape* (N, H, W, 3)."""
    if tensor.shape != list(shape):
        wanted = ", ".join(map(str, shape[1:]))
        raise WrongFields(f"Pixels must be of the model's own size, [N, {wanted}]; resize them, or send BYTES.")
    try:
        content = binary if _is_binary(tensor, binary) else bytes(_flat(tensor.data))
    except (TypeError, ValueError) as error:
        raise WrongFields(f"The input `{INPUT}` holds what is no UINT8; send whole numbers from 0 to 255.") from error
    if len(content) != math.prod(shape):
        raise _wrong_count()
    return list(np.frombuffer(content, np.uint8).reshape(shape))


def _is_binary(tensor: RequestedInput, binary: bytes) -> bool:
    """Say whether the tensor is *binary*; refuse one that is in two places, or in none, or of another size."""
    if tensor.binary_data_size is None and tensor.data is not None and not binary:
        return False
    if tensor.binary_data_size is None or tensor.data is not None:
        raise WrongFields(
            f"The input `{INPUT}` must be either in `data` or, with the parameter `binary_data_size`, behind the JSON."
        )
    if tensor.binary_data_size != len(binary):
        raise MalformedBody("`binary_data_size` is not the number of bytes behind the JSON; send the tensor whole.")
    return True


def _elements(binary: bytes, most: int) -> list[bytes]:
    """Return the elements of a binary BYTES tensor; raises WrongFields where there are more than *most*."""
    elements: list[bytes] = []
    start = 0
    while start < len(binary):
        if len(elements) == most:
            raise _wrong_count()
        if len(binary) - start < _LENGTH.size:
            raise _cut_off()
        [size_bytes] = _LENGTH.unpack_from(binary, start)
        start += _LENGTH.size
        if len(binary) - start < size_bytes:
            raise _cut_off()
        elements.append(binary[start : start + size_bytes])
        start += size_bytes
    return elements


def _flat(data: Any) -> list[Any]:
    """Return the elements of `data`, nested as its shape is or flat."""
    while isinstance(data, list) and data and isinstance(data[0], list):
        if not all(isinstance(row, list) for row in data):
            break
        data = list(chain.from_iterable(data))
    if not isinstance(data, list):
        raise WrongFields(f"The `data` of the input `{INPUT}` is no list; send its elements in row-major order.")
    return data


def _from_base64(text: Any, index: int) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (TypeError, ValueError) as error:
        raise MalformedBody(
            f"Image {index} is no base64 string; encode its bytes so, or send it as binary data."
        ) from error


def _wrong_count() -> WrongFields:
    return WrongFields(f"The input `{INPUT}` has another number of elements than its shape says; send them all.")


def _cut_off() -> MalformedBody:
    return MalformedBody("An element of the binary BYTES tensor is cut off; send its length, then all its bytes.")
