"""Log lines, as JSON or as text, written by a thread of their own: a blocked or full sink never blocks an answer.

Their fields have the names of OpenTelemetry's log data model and conventions, where those have one.
"""

import json
import logging
import os
from typing import Literal

from service.watch.background import BackgroundWriter
from service.watch.json_lines import timestamp

STDERR = 2


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        line = {"timestamp": timestamp(record.created), "severity_text": record.levelname, "body": record.getMessage()}
        line |= {"otel.scope.name": record.name, **getattr(record, "fields", {})}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception.type"] = record.exc_info[0].__name__
            line["exception.message"] = str(record.exc_info[1])
            line["exception.stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For eyes: time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline, or several where there is a traceback."""
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{timestamp(record.created)} {record.levelname:<7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class BackgroundHandler(logging.Handler):
    """Writes lines to a file descriptor from a thread, many at a time; `emit` neither waits nor wakes anybody."""

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._writer = BackgroundWriter(self._write, name="log")

    @property
    def dropped_lines(self) -> int:
        """The number of lines that a blocked, full or broken sink has cost."""
        return self._writer.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of *record* for the thread, or drop it where too many wait."""
        self._writer.add(self.format(record))

    def close(self) -> None:
        """Write what waits, as far as the sink takes it, and end the thread."""
        self._writer.close()
        super().close()

    def _write(self, lines: list[str]) -> int:
        data = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        # To the descriptor itself: a thread stuck inside sys.stderr would hold its lock when the process exits.
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return 0
        return len(lines)


def configure_logging(form: Literal["json", "text"], level: str) -> BackgroundHandler:
    """Send the log of the service and of its HTTP server to standard error; close the handler at the end."""
    handler = BackgroundHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up when something is wrong
    for name in ("service", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    # It warns of each malformed form, with bytes of it; the caller hears of that, and the log has the request's code.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # It warns of each try to reach a collector; that spans were lost is an error.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    return handler
