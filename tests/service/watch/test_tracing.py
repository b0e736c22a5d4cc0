"""Traces are asked for by OpenTelemetry's own variables, and never at the price of the service."""

import logging
import os
import subprocess
import sys

import pytest

from service.watch.tracing import open_traces
from tests.server_process import ROOT

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_being_asked_for_there_are_none(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing is said of them."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert open_traces() is None
    assert not caplog.records


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
        {"OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "1"},  # smaller than what is sent at once
    ],
)
def test_what_cannot_be_done_is_said_and_the_service_starts(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A platform sets these variables for every process that it starts."""
    for name, value in {ENDPOINT: "http://127.0.0.1:1", **variables}.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING, "service"):
        assert open_traces() is None
    assert "No spans are sent" in caplog.text


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The sentence names it."""
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "service.watch.spans", None)
    assert open_traces() is None
    assert "install the extra `otel`" in caplog.text


def test_nothing_of_the_extra_is_imported_unless_it_is_asked_for() -> None:
    """FastAPI brings the interface of OpenTelemetry along; what makes and sends spans stays out."""
    check = (
        "import sys; from service.app import create_app; from service.settings import Settings; create_app(Settings());"
        "import service.client; assert not {name for name in sys.modules if name.startswith(("
        "'opentelemetry.sdk', 'opentelemetry.exporter', 'service.watch.spans'))}"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, env=kept, check=True, timeout=120)
