"""Traces of a real server process, sent to a real collector; and that no answer depends on either."""

import itertools
import json
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider

from service.bundle import Bundle
from service.client import Client
from tests.collector import Collector, attributes, running_collector
from tests.server_process import ServerProcess, free_port, running_server
from tests.tiny_bundle import png

pytestmark = pytest.mark.e2e

RED, GREY = png((235, 20, 20)), png((128, 128, 128))
OPEN_METRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
STAGES = ["read", "decode", "queue", "inference"]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(
    collector: Collector, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    with running_server(
        folder, variables=collector.variables, bundle=tiny_bundle.path, verdict_log="verdicts", page="off"
    ) as server:
        server.wait_until_ready()
        yield server


def traceparent(*, flags: str = "01") -> tuple[str, str, str]:
    """Return a header, its trace's id and its span's."""
    trace_id, span_id = f"{random.getrandbits(128) | 1:032x}", f"{random.getrandbits(64) | 1:016x}"
    return f"00-{trace_id}-{span_id}-{flags}", trace_id, span_id


def whole_trace(collector: Collector, trace_id: str) -> list[Span]:
    """Return the spans of a trace, the request's last, once that has come; all others are sent before it."""
    collector.wait_for(
        lambda spans: any(s.trace_id.hex() == trace_id and s.kind == Span.SPAN_KIND_SERVER for s in spans)
    )
    return [span for span in collector.spans if span.trace_id.hex() == trace_id]


def test_a_request_is_a_span_with_its_stages_in_its_callers_trace(server: ServerProcess, collector: Collector) -> None:
    """Names and attributes are the conventions', and every stage lies within the request."""
    header, trace_id, span_id = traceparent()
    answer = httpx.post(f"{server.url}/predict", content=RED, headers={"traceparent": header, "tracestate": "a=b"})
    *stages, request = whole_trace(collector, trace_id)
    assert (request.name, request.parent_span_id.hex(), request.trace_state) == ("POST /predict", span_id, "a=b")
    told = attributes(request)
    assert {name: told[name] for name in told if not name.startswith("mos.")} == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "url.path": "/predict",
        "url.scheme": "http",
    }
    assert (told["mos.request_id"], told["mos.decision"]) == (answer.headers["X-Request-ID"], "in")
    assert [stage.name for stage in stages] == STAGES
    assert {stage.parent_span_id for stage in stages} == {request.span_id}
    moments = [request.start_time_unix_nano]
    for stage in stages:
        moments += [stage.start_time_unix_nano, stage.end_time_unix_nano]
    moments.append(request.end_time_unix_nano)
    # One is after the other, but for the rounding of seconds.
    assert all(later - earlier >= -1000 for earlier, later in itertools.pairwise(moments))
    assert abs(request.end_time_unix_nano / 1e9 - time.time()) < 60
    assert request.status.code == Status.STATUS_CODE_UNSET
    assert collector.resource["service.name"] == "mos-guard"


def test_a_batch_and_its_requests_are_linked_both_ways(server: ServerProcess, collector: Collector) -> None:
    """The batch is a trace of its own, for it belongs to no request alone."""
    header, trace_id, _ = traceparent()
    files = [("files", ("x", RED)), ("files", ("y", GREY))]
    assert httpx.post(f"{server.url}/predict/batch", files=files, headers={"traceparent": header}).status_code == 200
    *stages, request = whole_trace(collector, trace_id)
    runs = [stage for stage in stages if stage.name == "inference"]
    assert [attributes(run)["mos.index"] for run in runs] == [0, 1]
    batches = {span.span_id: span for span in collector.spans if span.name == "batch"}
    for run in runs:
        [link] = run.links
        batch = batches[link.span_id]
        assert batch.trace_id == link.trace_id != request.trace_id
        assert request.span_id in [back.span_id for back in batch.links]
        assert abs(batch.start_time_unix_nano - run.start_time_unix_nano) < 1e8
    assert (
        sum(attributes(batches[span_id])["mos.batch.size"] for span_id in {run.links[0].span_id for run in runs}) >= 2
    )


@pytest.mark.parametrize(
    ("path", "name", "status", "error"),
    [("/predict", "POST /predict", 415, None), ("/nope", "POST", 404, None), ("/model", "POST /model", 405, None)],
)
def test_a_refusal_is_the_callers_error(
    server: ServerProcess, collector: Collector, path: str, name: str, status: int, error: str | None
) -> None:
    """By the conventions a 4xx is no error of a server's span; the code says why."""
    header, trace_id, _ = traceparent()
    httpx.post(f"{server.url}{path}", content=b"no image", headers={"traceparent": header})
    request = whole_trace(collector, trace_id)[-1]
    told = attributes(request)
    assert (request.name, told["http.response.status_code"], told.get("error.type")) == (name, status, error)
    assert "mos.code" in told
    assert request.status.code == Status.STATUS_CODE_UNSET


def test_a_failure_is_an_error_of_its_span(tiny_bundle: Bundle, tmp_path: Path, collector: Collector) -> None:
    """A 5xx is one, and its type is the problem's code; of a service that ends every span has been sent."""
    header, trace_id, _ = traceparent()
    slow = collector.variables | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with running_server(tmp_path, variables=slow, bundle=tiny_bundle.path, deadline_ms=0.001) as server:
        server.wait_until_ready()
        answer = httpx.post(f"{server.url}/predict", content=RED, headers={"traceparent": header})
        assert answer.status_code == 504
        server.terminate()
        assert server.process.wait(timeout=60) == 0
    request = whole_trace(collector, trace_id)[-1]
    assert (attributes(request)["error.type"], request.status.code) == ("deadline_exceeded", Status.STATUS_CODE_ERROR)


def test_what_is_not_sampled_or_malformed_or_a_probe_is_no_part_of_a_trace(
    server: ServerProcess, collector: Collector
) -> None:
    """A caller who keeps no trace gets no spans; a malformed header is as good as none, and begins a trace."""
    unsampled, unsampled_id, _ = traceparent(flags="00")
    malformed, malformed_id, _ = traceparent()
    probe, probe_id, _ = traceparent()
    last, last_id, _ = traceparent()
    for path, header in (("/model", unsampled), ("/model", malformed.upper()), ("/health/ready", probe), ("/v2", last)):
        httpx.get(f"{server.url}{path}", headers={"traceparent": header})
    whole_trace(collector, last_id)
    assert not {unsampled_id, malformed_id, probe_id} & {span.trace_id.hex() for span in collector.spans}
    assert any(span.name == "GET /model" and not span.parent_span_id for span in collector.spans)


def test_logs_and_exemplars_name_the_trace(server: ServerProcess, collector: Collector) -> None:
    """From a line, a verdict or a bar of the histogram one finds the trace; the plain format has no place for it."""
    header, trace_id, _ = traceparent()
    httpx.post(f"{server.url}/predict", content=RED, headers={"traceparent": header})
    request = whole_trace(collector, trace_id)[-1]
    give_up_at = time.monotonic() + 30
    while not (lines := [line for line in server.log.read_text().splitlines() if trace_id in line]):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    line = json.loads(lines[-1])
    assert (line["trace_id"], line["span_id"], line["trace_flags"]) == (trace_id, request.span_id.hex(), "01")
    while trace_id not in (server.log.parent / "verdicts").read_text():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    answer = httpx.get(f"{server.url}/metrics", headers=OPEN_METRICS)
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    exemplar = re.escape(f'# {{trace_id="{trace_id}"}}')
    assert re.search(
        rf'^mos_request_duration_seconds_bucket{{.*route="/predict".*}} \S+ {exemplar} ', answer.text, re.M
    )
    assert trace_id not in httpx.get(f"{server.url}/metrics").text


def test_the_client_goes_on_with_its_callers_trace(server: ServerProcess, collector: Collector) -> None:
    """Where OpenTelemetry is used around a call, the service's span is a child of the caller's."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("caller")
    with Client(server.url) as client, tracer.start_as_current_span("judge") as span:
        client.predict(RED)
    context = span.get_span_context()
    request = whole_trace(collector, f"{context.trace_id:032x}")[-1]
    assert request.parent_span_id.hex() == f"{context.span_id:016x}"


@pytest.mark.parametrize("fault", ["nobody listens", "never answers"])
def test_a_collector_that_is_not_there_costs_no_answer(tiny_bundle: Bundle, tmp_path: Path, fault: str) -> None:
    """Spans are dropped, every request is answered, and the end waits no longer than for a slow log."""
    with running_collector() as collector:
        collector.is_held.set()
        variables = collector.variables | {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16"}
        if fault == "nobody listens":
            variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
        with running_server(tmp_path, variables=variables, bundle=tiny_bundle.path, drain_seconds=10) as server:
            server.wait_until_ready()
            with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=server.url, timeout=60) as client:
                statuses = set(pool.map(lambda _: client.post("/predict", content=RED).status_code, range(100)))
            assert statuses == {200}
            server.terminate()
            assert server.process.wait(timeout=20) == 0
        assert not collector.spans
