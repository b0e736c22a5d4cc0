"""Log lines, as JSON or as text, written by a thread of their own: a blocked or full sink never blocks an answer."""

import json
import logging
import os
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Literal

STDERR = 2
# What may wait for a slow sink; later lines are dropped and counted.
MAX_WAITING_LINES = 10_000
_WRITE_EVERY_SECONDS = 0.1
# A sink that takes nothing for so long at the end is left behind.
_LAST_WRITE_SECONDS = 2.0


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        line = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        line |= {"message": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For eyes: time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline, or several where there is a traceback."""
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)} {record.levelname:<7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class BackgroundHandler(logging.Handler):
    """Writes lines to a file descriptor from a thread, many at a time; `emit` neither waits nor wakes anybody."""

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self.dropped_lines = 0
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._write_until_closed, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of *record* for the thread, or drop it where too many wait."""
        if len(self._lines) >= MAX_WAITING_LINES:
            self.dropped_lines += 1
        else:
            self._lines.append(self.format(record))

    def close(self) -> None:
        """Write what waits, as far as the sink takes it, and end the thread."""
        self._is_closed.set()
        self._thread.join(_LAST_WRITE_SECONDS)
        super().close()

    def _write_until_closed(self) -> None:
        while not self._is_closed.wait(_WRITE_EVERY_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        data = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        # To the descriptor itself: a thread stuck inside sys.stderr would hold its lock when the process exits.
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self.dropped_lines += len(lines)


def configure_logging(form: Literal["json", "text"], level: str) -> BackgroundHandler:
    """Send the log of the service and of its HTTP server to standard error; close the handler at the end."""
    handler = BackgroundHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up when something is wrong
    for name in ("service", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    return handler


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
