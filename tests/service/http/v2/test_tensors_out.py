"""What verdicts look like as tensors."""

import json
from typing import Any

import numpy as np
import pytest
from starlette.responses import Response

from service.bundle import Bundle
from service.http.v2.schemas import InferRequest, RequestedInput
from service.http.v2.tensors_out import JSON_SIZE_HEADER, answer, asked_for, outputs_of
from service.verdict import Verdict

# Not to be told from its FP32 neighbour, which is larger.
THRESHOLD = float(np.float32(-0.3)) - 1e-12


def verdict(label: str = "gr\u00fcn", score: float = float(np.float32(-0.3))) -> Verdict:
    top = [("red", 0.5), ("blue", 0.25), ("yellow", 0.25)]
    others = {"warm": 0.25, "cool": 0.5, "pale": 1.0}
    return Verdict(label, 3, 0.5, "warm", "in", "mos", -0.25, score, THRESHOLD, 0.1, others, top)


def answered(bundle: Bundle, verdicts: list[Verdict], **fields: Any) -> Response:
    request = InferRequest(inputs=[RequestedInput(name="images", shape=[1], datatype="BYTES")], **fields)
    outputs = outputs_of(bundle.manifest)
    return answer(verdicts, request, asked_for(request, outputs), outputs, {"model_name": "tiny"})


def test_a_threshold_stays_on_its_side_of_a_score(tiny_bundle: Bundle) -> None:
    """In binary too, whoever compares the two tensors decides as the service did."""
    response = answered(
        tiny_bundle,
        [verdict()],
        outputs=[{"name": "score"}, {"name": "threshold"}],
        parameters={"binary_data_output": True},
    )
    end = int(response.headers[JSON_SIZE_HEADER])
    score = np.frombuffer(response.body[end : end + 4], "<f4").astype(np.float64)
    threshold = np.frombuffer(response.body[end + 4 :], "<f8")
    assert threshold[0] == THRESHOLD < score[0]


def test_texts_are_utf8_in_length_and_bytes(tiny_bundle: Bundle) -> None:
    """The length counts bytes, not letters; in JSON they are strings."""
    output = {"name": "label", "parameters": {"binary_data": True}}
    response = answered(tiny_bundle, [verdict(), verdict("x")], outputs=[output])
    end = int(response.headers[JSON_SIZE_HEADER])
    assert bytes(response.body[end:]) == b"\5\0\0\0gr\xc3\xbcn\1\0\0\0x"
    plain = json.loads(bytes(answered(tiny_bundle, [verdict()], outputs=[{"name": "label"}]).body))
    assert plain["outputs"][0]["data"] == ["gr\u00fcn"]


def test_an_answer_without_binary_tensors_is_plain_json(tiny_bundle: Bundle) -> None:
    """It has no size of its JSON, and an output may refuse what the request asks of all."""
    response = answered(
        tiny_bundle,
        [verdict()],
        outputs=[{"name": "score", "parameters": {"binary_data": False}}],
        parameters={"binary_data_output": True},
    )
    assert JSON_SIZE_HEADER not in response.headers
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("count", [1, 3])
def test_every_tensor_is_as_long_as_its_shape(tiny_bundle: Bundle, count: int) -> None:
    """Row by row; the classes of the top are the manifest's, by name and by index."""
    document = json.loads(bytes(answered(tiny_bundle, [verdict()] * count).body))
    told = {output["name"]: output for output in document["outputs"]}
    assert set(told) == set(outputs_of(tiny_bundle.manifest))
    assert told["others_scores"]["shape"] == [count, 3]
    assert told["others_scores"]["data"] == [0.25, 0.5, 1.0] * count
    assert told["topk_index"]["data"][:3] == [0, 1, 2]
    assert told["topk_label"]["data"][:3] == ["red", "blue", "yellow"]
