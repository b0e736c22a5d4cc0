"""The OpenAPI document against a running server: requests made from it, and requests that break it."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.bundle import Bundle
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.e2e

KEY = "the-key"
V2_MODELS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
V2_ENDS = (("GET", ""), ("GET", "/ready"), ("POST", "/infer"))
OPERATIONS = [
    ("POST", "/predict"),
    ("POST", "/predict/batch"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/model"),
    ("GET", "/metrics"),
    ("POST", "/feedback"),
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    *((method, f"{model}{end}") for model in V2_MODELS for method, end in V2_ENDS),
]
AS_TOLD, OTHERWISE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# Of the others there is nothing that could be sent wrongly.
CASES = [(*operation, AS_TOLD) for operation in OPERATIONS]
CASES += [(method, path, OTHERWISE) for method, path in OPERATIONS if method == "POST"]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "keys").write_text(f"{KEY}\n")
    keys = {"api_keys_file": "keys", "metrics": "key", "feedback_keys_file": "keys", "feedback_log": "labels"}
    with running_server(folder, bundle=tiny_bundle.path, **keys) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def document(server: ServerProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers={"X-API-Key": KEY})


def test_every_operation_is_tried(document: schemathesis.BaseSchema) -> None:
    """A new route is added to the list above."""
    operations = [found.ok() for found in document.get_all_operations()]
    assert {(operation.method.upper(), operation.path) for operation in operations} == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_no_answer_is_undocumented_or_an_internal_error(
    document: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """Whatever is sent, the status, the type and the body are ones that the document has for the operation."""

    @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def judge(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"X-API-Key": KEY}, checks=CHECKS)

    judge()


def test_a_malformed_form_leaves_nothing_of_its_own_in_the_log(server: ServerProcess) -> None:
    """There is the line of the request, and no library's warning with bytes of somebody's body."""
    form = {"Content-Type": "multipart/form-data; boundary=x", "X-Request-ID": "malformed", "X-API-Key": KEY}
    response = httpx.post(f"{server.url}/predict", content=b"--x\r\n: no name\r\n", headers=form, timeout=60)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_body")
    give_up_at = time.monotonic() + 60
    while '"malformed"' not in server.log.read_text():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    loggers = {json.loads(line)["otel.scope.name"] for line in server.log.read_text().splitlines()}
    assert {logger.partition(".")[0] for logger in loggers} == {"service", "uvicorn"}
