"""A collector of OpenTelemetry's, as far as a test needs one: takes spans as OTLP over HTTP, or leaves them waiting."""

import contextlib
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_SECONDS = 30


@dataclass
class Collector:
    """Where it listens, and the spans that have come, with the attributes of whoever sent them."""

    port: int
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, object] = field(default_factory=dict)
    is_held: threading.Event = field(default_factory=threading.Event)  # set: it takes a request and never answers

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that sends its spans here, and soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def wait_for(self, is_there: Callable[[list[Span]], object]) -> list[Span]:
        """Return the spans once *is_there* says that those are there that are waited for."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not is_there(self.spans):
            assert time.monotonic() < give_up_at, [span.name for span in self.spans]
            time.sleep(0.02)
        return self.spans


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: value(pair.value) for pair in span.attributes}


def value(wrapped: AnyValue) -> object:
    kind = wrapped.WhichOneof("value")
    assert kind is not None
    return getattr(wrapped, kind)


@contextlib.contextmanager
def running_collector() -> Iterator[Collector]:
    """Start a collector in a thread of this process; it ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if collector.is_held.is_set():
                has_ended.wait()
                return
            if self.headers.get("Content-Encoding") == "gzip":
                content = gzip.decompress(content)
            for sent in ExportTraceServiceRequest.FromString(content).resource_spans:
                collector.resource = {pair.key: value(pair.value) for pair in sent.resource.attributes}
                collector.spans += [span for scope in sent.scope_spans for span in scope.spans]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    has_ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        has_ended.set()
        server.shutdown()
        server.server_close()
