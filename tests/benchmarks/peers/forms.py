"""A picture as a whole HTTP request, in each form that some server takes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

_BOUNDARY = b"boundary-of-the-benchmark"


def raw(picture: bytes, path: str) -> bytes:
    """The bytes of the picture are the body."""
    return _post(path, {"Content-Type": "application/octet-stream"}, picture)


def multipart(picture: bytes, path: str, field: str = "file") -> bytes:
    """A form with one file."""
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="picture"\r\n' % (_BOUNDARY, field.encode())
    body = head + b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n--%s--\r\n" % _BOUNDARY
    return _post(path, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY.decode()}"}, body)


def base64_json(picture: bytes, path: str, field: str = "file", *, is_list: bool = False) -> bytes:
    """A JSON object with the picture in base64, as it is or as a list of one."""
    text = base64.b64encode(picture).decode()
    return _post(path, {"Content-Type": "application/json"}, json.dumps({field: [text] if is_list else text}).encode())


def v2(picture: bytes, path: str) -> bytes:
    """The Open Inference Protocol with the picture as a binary tensor of one BYTES element."""
    tensor = len(picture).to_bytes(4, "little") + picture
    size = {"binary_data_size": len(tensor)}
    header = {"inputs": [{"name": "images", "shape": [1], "datatype": "BYTES", "parameters": size}]}
    encoded = json.dumps(header).encode()
    return _post(path, {"Inference-Header-Content-Length": str(len(encoded))}, encoded + tensor)


def _post(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


Form = Callable[[bytes], bytes]
