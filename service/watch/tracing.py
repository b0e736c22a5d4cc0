"""Whether spans are made, as OpenTelemetry's own environment variables say; else nothing of it is imported."""

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.watch.spans import Traces

PROTOCOL = "http/protobuf"

_log = logging.getLogger(__name__)


def open_traces() -> "Traces | None":
    """Return what makes spans where an endpoint for them is set, else None.

    What cannot be done is a warning and no error: platforms set these variables for all their processes, and no verdict
    may depend on them.
    """
    endpoint = _setting("ENDPOINT")
    exporters = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if not endpoint or exporters == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    protocol = _setting("PROTOCOL") or PROTOCOL
    if "otlp" not in exporters.split(",") or protocol != PROTOCOL:
        _log.warning("No spans are sent: OTLP over %s is all that the service speaks; send them that way.", PROTOCOL)
        return None
    try:
        from service.watch.spans import Traces

        traces = Traces()
    except ImportError:
        _log.warning("No spans are sent, though an endpoint is set: install the extra `otel`.")
        return None
    except Exception:  # such as a queue that is smaller than what is sent at once
        _log.exception("No spans are sent: correct the variables OTEL_*.")
        return None
    _log.info("Spans are sent to %s.", endpoint)
    return traces


def _setting(name: str) -> str:
    """Return what is set for traces or, where nothing is, for all signals."""
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""
