"""Verdicts to the tensors of an answer: JSON, or binary behind the JSON, as each is asked for.

N images, C classes, K groups, k = min(5, C) top classes.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import JsonValue
from starlette.responses import JSONResponse, Response

from service.bundle import Manifest
from service.errors import WrongFields
from service.http.v2.schemas import InferRequest, RequestedOutput
from service.verdict import Verdict

JSON_SIZE_HEADER = "Inference-Header-Content-Length"
# Threshold and p-value as they are: rounded to FP32, a threshold could fall on the other side of a score.
_DTYPES = {"INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}
# They would change what an output means, so that to ignore them would be a lie.
_UNSUPPORTED = ("classification", "shared_memory_region")


class Output(NamedTuple):
    """One output: its type, the shape of one image's part, and that part of one verdict."""

    datatype: str
    shape: tuple[int, ...]
    of: Callable[[Verdict], Any]


def outputs_of(manifest: Manifest) -> dict[str, Output]:
    """Return all that can be asked for, by name, in the order of an answer."""
    groups, top = (len(manifest.groups),), (min(5, len(manifest.classes)),)
    return {
        "class_index": Output("INT64", (), lambda verdict: verdict.class_index),
        "label": Output("BYTES", (), lambda verdict: verdict.label),
        "class_probability": Output("FP32", (), lambda verdict: verdict.probability),
        "group": Output("BYTES", (), lambda verdict: verdict.group),
        "decision": Output("BYTES", (), lambda verdict: verdict.decision),
        "score": Output("FP32", (), lambda verdict: verdict.score),
        "mos": Output("FP32", (), lambda verdict: verdict.mos),
        "threshold": Output("FP64", (), lambda verdict: verdict.threshold),
        "p_value": Output("FP64", (), lambda verdict: verdict.p_value),
        "others_scores": Output("FP32", groups, lambda verdict: list(verdict.others_scores.values())),
        "topk_index": Output("INT64", top, lambda verdict: [manifest.classes.index(label) for label, _ in verdict.top]),
        "topk_label": Output("BYTES", top, lambda verdict: [label for label, _ in verdict.top]),
        "topk_probability": Output("FP32", top, lambda verdict: [probability for _, probability in verdict.top]),
    }


def asked_for(request: InferRequest, outputs: Mapping[str, Output]) -> list[RequestedOutput]:
    """Return the outputs that *request* asks for, all where it names none; raises WrongFields for what is not there."""
    names = [output.name for output in request.outputs]
    if len(set(names)) != len(names) or not set(names) <= set(outputs):
        raise WrongFields(f"Ask for each output once, and for none but {', '.join(outputs)}.")
    for output in request.outputs:
        if unsupported := [name for name in _UNSUPPORTED if name in output.parameters]:
            raise WrongFields(f"The parameter `{unsupported[0]}` of an output is not supported; leave it out.")
    return request.outputs or [RequestedOutput(name=name) for name in outputs]


def answer(
    verdicts: Sequence[Verdict],
    request: InferRequest,
    wanted: Sequence[RequestedOutput],
    outputs: Mapping[str, Output],
    document: dict[str, Any],
) -> Response:
    """Return *document* with the *wanted* tensors of all *verdicts* (N,) in it, or behind it."""
    all_binary = request.parameters.get("binary_data_output")
    binary: list[bytes] = []
    tensors = []
    for output in wanted:
        tensor, content = _tensor(
            output.name, outputs[output.name], verdicts, output.parameters.get("binary_data", all_binary)
        )
        tensors.append(tensor)
        binary += [] if content is None else [content]
    document = {**document, "outputs": tensors}
    if not binary:
        return JSONResponse(document)
    header = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return Response(
        b"".join([header, *binary]),
        headers={JSON_SIZE_HEADER: str(len(header))},
        media_type="application/octet-stream",
    )


def _tensor(
    name: str, output: Output, verdicts: Sequence[Verdict], is_binary: JsonValue
) -> tuple[dict[str, Any], bytes | None]:
    """Return one tensor's part of the JSON, and its bytes where it *is_binary*."""
    rows = [output.of(verdict) for verdict in verdicts]
    elements = [element for row in rows for element in row] if output.shape else rows
    tensor = {"name": name, "datatype": output.datatype, "shape": [len(verdicts), *output.shape]}
    if is_binary is not True:
        return {**tensor, "data": elements}, None
    content = _binary(output.datatype, elements)
    return {**tensor, "parameters": {"binary_data_size": len(content)}}, content


def _binary(datatype: str, elements: list[Any]) -> bytes:
    if datatype != "BYTES":
        return np.array(elements, _DTYPES[datatype]).tobytes()
    encoded = [element.encode() for element in elements]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)
